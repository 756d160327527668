// Package gitid computes git's object ids of files and folders on disk, with
// nothing but the standard library: the loader, which knows no git, names
// content by the same ids as the commit that brought it.
//
// It only reads. It must not follow a symbolic link (a link's id is that of
// its target's text) nor leave the folder it was given. It has no state; all
// functions may be called concurrently.
package gitid

import (
	"crypto/sha1" // git's object ids are SHA-1; nothing here is a signature
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// The modes of git's tree entries, six digits wide as `git ls-tree` prints
// them.
const (
	ModeFile = "100644"
	ModeExec = "100755"
	ModeLink = "120000"
	ModeTree = "040000"
	// ModeSubmodule is a commit of another repository; it has no content here.
	ModeSubmodule = "160000"
)

// Object is what a path holds.
type Object struct {
	Mode string
	// ID is git's object id, 40 hexadecimal digits.
	ID string
	// Files counts the files and links below a folder, 1 for a file; Bytes is
	// the sum of their sizes.
	Files int
	Bytes int64
}

// Entry is one entry of a tree.
type Entry struct {
	Name string
	Mode string
	ID   string
}

// ErrChanged says that a file was written while it was read.
var ErrChanged = errors.New("changed while it was read")

// EmptyTree is the id of a folder without files, which git never stores.
const EmptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

// NewBlob returns a hash that, once size bytes of content are written to it,
// sums to the id of the blob. Encode it with [Hex].
func NewBlob(size int64) hash.Hash { return newObject("blob", size) }

// Hex returns the id that h holds.
func Hex(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// Blob returns the id of a file with that content.
func Blob(content []byte) string {
	h := NewBlob(int64(len(content)))
	h.Write(content)
	return Hex(h)
}

// Tree returns the id of a folder with those entries, in any order. Names must
// be single path elements and unique.
func Tree(entries []Entry) (string, error) {
	sorted := slices.Clone(entries)
	slices.SortFunc(sorted, func(a, b Entry) int { return strings.Compare(sortName(a), sortName(b)) })
	var body []byte
	for i, e := range sorted {
		if i > 0 && sorted[i-1].Name == e.Name {
			return "", fmt.Errorf("hash tree: two entries are named %q", e.Name)
		}
		if err := checkName(e.Name); err != nil {
			return "", err
		}
		id, err := hex.DecodeString(e.ID)
		if err != nil || len(id) != sha1.Size {
			return "", fmt.Errorf("hash tree: entry %q: %q is no object id", e.Name, e.ID)
		}
		body = append(body, strings.TrimPrefix(e.Mode, "0")+" "+e.Name+"\x00"...)
		body = append(body, id...)
	}
	h := newObject("tree", int64(len(body)))
	h.Write(body)
	return Hex(h), nil
}

// Of returns what name holds inside root. As git does, it skips `.git`, empty
// folders, and whatever is neither file, folder nor link. The last element of
// name is not followed when it is a link; those before it are, inside root.
func Of(root *os.Root, name string) (Object, error) {
	name = path.Clean(name)
	info, err := root.Lstat(name)
	if err != nil {
		return Object{}, fmt.Errorf("hash %s: %w", name, err)
	}
	o, ok, err := of(root, name, info)
	if err != nil {
		return Object{}, err
	}
	if !ok {
		return Object{}, fmt.Errorf("hash %s: neither file, folder nor link (%s)", name, info.Mode().Type())
	}
	return o, nil
}

// OfPath is [Of] for a path of the file system.
func OfPath(file string) (Object, error) {
	dir, base := path.Split(path.Clean(file))
	if base == "" || base == "." || base == ".." {
		dir, base = file, "."
	}
	if dir == "" {
		dir = "."
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Object{}, fmt.Errorf("hash %s: %w", file, err)
	}
	defer func() { _ = root.Close() }() // opened for reading
	return Of(root, base)
}

// FileMode returns git's mode of a file, folder or link; ok is false for
// anything else.
func FileMode(m fs.FileMode) (mode string, ok bool) {
	switch {
	case m.IsDir():
		return ModeTree, true
	case m&fs.ModeSymlink != 0:
		return ModeLink, true
	case !m.IsRegular():
		return "", false
	case m&0o100 != 0:
		return ModeExec, true
	}
	return ModeFile, true
}

func of(root *os.Root, name string, info fs.FileInfo) (Object, bool, error) {
	mode, ok := FileMode(info.Mode())
	if !ok {
		return Object{}, false, nil
	}
	var o Object
	var err error
	switch mode {
	case ModeTree:
		o, err = folder(root, name)
	case ModeLink:
		o, err = link(root, name)
	default:
		o, err = file(root, name)
	}
	o.Mode = mode
	return o, true, err
}

func folder(root *os.Root, name string) (Object, error) {
	list, err := readDir(root, name)
	if err != nil {
		return Object{}, fmt.Errorf("hash %s: %w", name, err)
	}
	var sum Object
	var entries []Entry
	for _, d := range list {
		if d.Name() == ".git" {
			continue
		}
		child := path.Join(name, d.Name())
		info, err := root.Lstat(child)
		if err != nil {
			return Object{}, fmt.Errorf("hash %s: %w", child, err)
		}
		o, ok, err := of(root, child, info)
		if err != nil {
			return Object{}, err
		}
		if !ok || o.Files == 0 {
			continue
		}
		sum.Files += o.Files
		sum.Bytes += o.Bytes
		entries = append(entries, Entry{Name: d.Name(), Mode: o.Mode, ID: o.ID})
	}
	sum.ID, err = Tree(entries)
	return sum, err
}

func readDir(root *os.Root, name string) ([]fs.DirEntry, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // opened for reading
	return f.ReadDir(-1)
}

func link(root *os.Root, name string) (Object, error) {
	target, err := root.Readlink(name)
	if err != nil {
		return Object{}, fmt.Errorf("hash %s: %w", name, err)
	}
	return Object{ID: Blob([]byte(target)), Files: 1, Bytes: int64(len(target))}, nil
}

func file(root *os.Root, name string) (Object, error) {
	f, err := root.Open(name)
	if err != nil {
		return Object{}, fmt.Errorf("hash %s: %w", name, err)
	}
	defer func() { _ = f.Close() }() // opened for reading
	info, err := f.Stat()
	if err != nil {
		return Object{}, fmt.Errorf("hash %s: %w", name, err)
	}
	h := NewBlob(info.Size())
	n, err := io.Copy(h, f)
	if err != nil {
		return Object{}, fmt.Errorf("hash %s: %w", name, err)
	}
	if n != info.Size() {
		return Object{}, fmt.Errorf("hash %s: %w", name, ErrChanged)
	}
	return Object{ID: Hex(h), Files: 1, Bytes: n}, nil
}

func newObject(kind string, size int64) hash.Hash {
	h := sha1.New() // see the import
	h.Write([]byte(kind + " " + strconv.FormatInt(size, 10) + "\x00"))
	return h
}

// sortName is what git compares: a folder's name ends in a slash.
func sortName(e Entry) string {
	if e.Mode == ModeTree {
		return e.Name + "/"
	}
	return e.Name
}

func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("hash tree: %q is no file name", name)
	}
	return nil
}
