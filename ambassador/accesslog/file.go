package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// FileName is the name of the file that is written; its predecessors have .1,
// .2 … after it, the youngest first.
const FileName = "access.log"

// defaultReserve is what a log leaves free of its file system, since tables are
// written there too: so many bytes, or a twentieth of a small one.
const defaultReserve = 64 << 20

// errNoRoom says that the file system is left its reserve.
var errNoRoom = errors.New("the file system is nearly full")

// file is the file that is appended to. It belongs to the writer.
type file struct {
	dir     string
	reserve uint64
	f       *os.File
	torn    bool      // the last line is not whole
	retry   time.Time // of a rename that failed
}

func (f *file) path(n int) string {
	p := filepath.Join(f.dir, FileName)
	if n > 0 {
		p += "." + strconv.Itoa(n)
	}
	return p
}

// append appends whole lines and says how many of them are missing.
func (f *file) append(b []byte, s *Settings) (missing uint64, err error) {
	all := uint64(bytes.Count(b, []byte{'\n'}))
	size, err := f.ready(s)
	if err != nil {
		return all, err
	}
	if err := f.room(len(b)); err != nil {
		return all, err
	}
	if f.torn {
		if _, err := f.f.Write([]byte{'\n'}); err != nil {
			return all, fmt.Errorf("append to %s: %w", FileName, err)
		}
		f.torn = false
	}
	n, err := f.f.Write(b)
	if err != nil {
		f.torn = n > 0 && b[n-1] != '\n'
		return all - uint64(bytes.Count(b[:n], []byte{'\n'})), fmt.Errorf("append to %s: %w", FileName, err)
	}
	if size+int64(n) >= s.MaxSize {
		f.rotate(s)
	}
	return 0, nil
}

// ready makes sure that the open file is the one at the path: another process
// may have renamed it. It returns the file's size.
func (f *file) ready(s *Settings) (int64, error) {
	if f.f != nil {
		if size, same := f.current(); same {
			return size, nil
		}
		f.close()
	}
	o, err := os.OpenFile(f.path(0), os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW, 0o640)
	if err != nil {
		return 0, fmt.Errorf("open the access log: %w", err)
	}
	f.f = o
	info, err := o.Stat()
	if err != nil {
		return 0, fmt.Errorf("open the access log: %w", err)
	}
	return info.Size(), nil
}

// current says whether the open file is at the path, and its size.
func (f *file) current() (int64, bool) {
	ours, err := f.f.Stat()
	if err != nil {
		return 0, false
	}
	there, err := os.Lstat(f.path(0))
	return ours.Size(), err == nil && os.SameFile(ours, there)
}

func (f *file) room(n int) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.f.Fd()), &st); err != nil {
		return nil // a file system that does not tell is written to
	}
	block := uint64(st.Bsize)
	reserve := min(f.reserve, st.Blocks*block/20)
	if st.Bavail*block < reserve+uint64(n) {
		return fmt.Errorf("append to %s: %w", FileName, errNoRoom)
	}
	return nil
}

// renameAgain is the pause after a rename that failed.
const renameAgain = 10 * time.Second

// rotate renames the file, unless another process does. The file that is
// renamed is locked, so that only one does it once.
func (f *file) rotate(s *Settings) {
	if time.Now().Before(f.retry) || unix.Flock(int(f.f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return
	}
	defer f.close() // and with it the lock
	if _, same := f.current(); !same {
		return
	}
	for n := s.Keep; n > 0; n-- {
		if err := os.Rename(f.path(n-1), f.path(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.retry = time.Now().Add(renameAgain)
			return
		}
	}
	f.removeBeyond(s.Keep)
}

// removeBeyond removes files of a time when more were kept.
func (f *file) removeBeyond(keep int) {
	for n := keep + 1; os.Remove(f.path(n)) == nil; n++ {
	}
}

func (f *file) close() {
	if f.f != nil {
		_ = f.f.Close() // every write said what became of it
		f.f = nil
	}
}
