package gitsource

import (
	"errors"
	"fmt"
	"io"
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

// parsePack checks every object of a pack and gathers the index.
func parsePack(name string, index *idxfile.Writer) (sum plumbing.Hash, err error) {
	f, err := os.Open(name)
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	parser, err := packfile.NewParser(packfile.NewScanner(f), index)
	if err != nil {
		return sum, err
	}
	return parser.Parse()
}

func createFile(name string, fill func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(fill(f), f.Close())
}
