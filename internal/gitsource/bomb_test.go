package gitsource

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing/format/idxfile"

	"github.com/remorahq/remora/manifests"
)

// TestTreeBomb: a tree that holds itself ten times at each of ten levels is a
// few hundred bytes of git and ten thousand million folders.
func TestTreeBomb(t *testing.T) {
	r := newRepo(t)
	r.write("environments/prod/app/compose.yaml", "services: {}\n")
	r.push("x")
	blob := r.git(r.work, "rev-parse", "HEAD:environments/prod/app/compose.yaml")
	mktree := func(list string) string {
		file := filepath.Join(r.top, "list")
		writeFile(t, file, list)
		return r.git(r.work, "-c", "alias.from=!git mktree < "+file, "from")
	}
	bomb := mktree("100644 blob " + blob + "\tf\n")
	for range 10 {
		var list strings.Builder
		for _, name := range "0123456789" {
			list.WriteString("040000 tree " + bomb + "\t" + string(name) + "\n")
		}
		bomb = mktree(list.String())
	}
	env := r.git(r.work, "rev-parse", "HEAD:environments")
	root := mktree("040000 tree " + bomb + "\tbomb\n040000 tree " + env + "\tenvironments\n")
	r.git(r.work, "push", "-q", "-f", "origin", r.git(r.work, "commit-tree", "-m", "bomb", root)+":refs/heads/main")
	rev := mustFetch(t, openSource(t, manifests.Source{URL: r.fileURL()}, Options{Limits: Limits{Files: 100}}))
	folders := 0
	check(t, filepath.WalkDir(rev.Folder, func(_ string, d os.DirEntry, err error) error {
		if d.IsDir() {
			folders++
		}
		return err
	}))
	if folders > 100 {
		t.Errorf("%d folders were made, 100 may be", folders)
	}
	if len(rev.Reports) != 1 || !strings.Contains(rev.Reports[0].Message, "folders") {
		t.Errorf("reports: %+v", rev.Reports)
	}
	if !exists(filepath.Join(rev.Folder, "environments/prod/app/compose.yaml")) {
		t.Error("the environments were not written first")
	}
}

// packed is an object of a pack: kind as the format numbers them, its declared
// size and its content.
type packed struct {
	kind    byte
	size    uint64
	base    string // of a difference
	content io.Reader
}

// writePack writes a pack as a server may send one.
func writePack(t *testing.T, count uint32, objects ...packed) string {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("PACK")
	b.Write(binary.BigEndian.AppendUint32(nil, 2))
	b.Write(binary.BigEndian.AppendUint32(nil, count))
	for _, o := range objects {
		head, rest := o.kind<<4|byte(o.size&15), o.size>>4
		for ; rest > 0; rest >>= 7 {
			b.WriteByte(head | 0x80)
			head = byte(rest & 0x7f)
		}
		b.WriteByte(head)
		b.WriteString(o.base)
		z := zlib.NewWriter(&b)
		_, err := io.Copy(z, o.content)
		check(t, errors.Join(err, z.Close()))
	}
	sum := sha1.Sum(b.Bytes())
	b.Write(sum[:])
	name := filepath.Join(t.TempDir(), "pack")
	check(t, os.WriteFile(name, b.Bytes(), 0o600))
	return name
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestPackBombs: what a small pack unpacks to is bounded before it is read
// into memory.
func TestPackBombs(t *testing.T) {
	const blob, delta = 3, 7
	small := packed{kind: blob, size: 4, content: strings.NewReader("base")}
	id := sha1.Sum([]byte("blob 4\x00base"))
	grows := binary.AppendUvarint(binary.AppendUvarint(nil, 4), 1<<40)
	for name, file := range map[string]string{
		"object":     writePack(t, 1, packed{kind: blob, size: maxObject + 1, content: io.LimitReader(zeros{}, maxObject+1)}),
		"claims":     writePack(t, 1, packed{kind: blob, size: 1 << 50, content: strings.NewReader("x")}),
		"difference": writePack(t, 2, small, packed{kind: delta, size: uint64(len(grows)), base: string(id[:]), content: bytes.NewReader(grows)}),
		"many":       writePack(t, 4_000_000_000),
	} {
		if _, err := parsePack(file, &idxfile.Writer{}); !errors.Is(err, errTooLarge) {
			t.Errorf("%s: %v, want %v", name, err, errTooLarge)
		}
	}
	if _, err := parsePack(writePack(t, 1, packed{kind: blob, size: 4, content: strings.NewReader("base")}), &idxfile.Writer{}); err != nil {
		t.Errorf("a good pack: %v", err)
	}
}
