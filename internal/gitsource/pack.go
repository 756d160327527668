package gitsource

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// storePack writes a pack and its index into dir, an empty folder, and opens
// it. The library's own writer keeps its files open when a pack is broken, and
// with them the space of a full disk; this one never does.
func storePack(dir string, pack io.Reader) (*filesystem.Storage, error) {
	packs := filepath.Join(dir, "objects", "pack")
	if err := os.MkdirAll(packs, 0o700); err != nil {
		return nil, err
	}
	incoming := filepath.Join(packs, "incoming")
	if err := createFile(incoming, func(w io.Writer) error { _, err := io.Copy(w, pack); return err }); err != nil {
		return nil, err
	}
	index := &idxfile.Writer{}
	sum, err := parsePack(incoming, index)
	if err != nil {
		return nil, err
	}
	contents, err := index.Index()
	if err != nil {
		return nil, fmt.Errorf("index pack: %w", err)
	}
	base := filepath.Join(packs, "pack-"+sum.String())
	err = createFile(base+".idx", func(w io.Writer) error { _, err := idxfile.NewEncoder(w).Encode(contents); return err })
	if err = errors.Join(err, os.Rename(incoming, base+".pack")); err != nil {
		return nil, err
	}
	return filesystem.NewStorageWithOptions(osfs.New(dir), cache.NewObjectLRU(cacheSize), filesystem.Options{
		ExclusiveAccess:      true,
		KeepDescriptors:      true,
		LargeObjectThreshold: 1 << 20,
	}), nil
}

// Limits of the objects of a pack, unpacked. The library reads one object at a
// time into memory, whatever its size: a kilobyte that unpacks to gigabytes
// would end the agent.
const (
	maxObject  = 256 << 20
	maxObjects = 2_000_000
	maxInflate = 8 << 30
)

// checkPack refuses a pack that unpacks to more than the limits, before the
// library sees it.
func checkPack(f io.ReadSeeker) error {
	scan := packfile.NewScanner(f)
	_, count, err := scan.Header()
	if err != nil {
		return err
	}
	if count > maxObjects {
		return fmt.Errorf("%w: %d objects, %d are possible", errTooLarge, count, maxObjects)
	}
	total := int64(0)
	for range count {
		size, err := nextSize(scan)
		if err != nil {
			return err
		}
		if total += size; size > maxObject || total > maxInflate {
			return fmt.Errorf("%w: an object of %d MiB, %d MiB in all; %d and %d are possible",
				errTooLarge, size>>20, total>>20, maxObject>>20, maxInflate>>20)
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}

// nextSize is the unpacked size of a pack's next object; of one that is a
// difference to another, of the result.
func nextSize(scan *packfile.Scanner) (int64, error) {
	h, err := scan.NextObjectHeader()
	if err != nil {
		return 0, err
	}
	if h.Length > maxObject {
		return h.Length, nil
	}
	if h.Type != plumbing.OFSDeltaObject && h.Type != plumbing.REFDeltaObject {
		_, _, err = scan.NextObject(io.Discard)
		return h.Length, err
	}
	head := &firstBytes{}
	if _, _, err = scan.NextObject(head); err != nil {
		return 0, err
	}
	return max(h.Length, head.result()), nil
}

// parsePack checks every object of a pack and gathers the index.
func parsePack(name string, index *idxfile.Writer) (sum plumbing.Hash, err error) {
	f, err := os.Open(name)
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := checkPack(f); err != nil {
		return sum, err
	}
	parser, err := packfile.NewParser(packfile.NewScanner(f), index)
	if err != nil {
		return sum, err
	}
	return parser.Parse()
}

// firstBytes keeps the head of what is written: of a difference, the sizes of
// its base and of its result.
type firstBytes struct {
	head [20]byte
	n    int
}

// Write implements [io.Writer].
func (w *firstBytes) Write(p []byte) (int, error) {
	w.n += copy(w.head[w.n:], p)
	return len(p), nil
}

// result is the size of a difference's result; the library refuses what is
// none.
func (w *firstBytes) result() int64 {
	_, n := binary.Uvarint(w.head[:w.n])
	if n <= 0 {
		return 0
	}
	size, _ := binary.Uvarint(w.head[n:w.n])
	return int64(min(size, math.MaxInt64/2))
}

func createFile(name string, fill func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(fill(f), f.Close())
}
