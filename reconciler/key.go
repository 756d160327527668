package reconciler

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/remorahq/remora/internal/atomicfile"
)

// keySize is the size of the host's key in bytes.
const keySize = 32

// hostKey reads the key that hostrev is made with, and makes it at the first
// start. It never leaves the host.
func hostKey(state string) ([]byte, error) {
	path := filepath.Join(state, "host-key")
	key, err := os.ReadFile(path)
	switch {
	case err == nil && len(key) == keySize:
		return key, nil
	case err == nil:
		return nil, fmt.Errorf("read the host's key: %s has %d bytes, not %d; put the file back, or remove it: containers with env files of the host are made again then", path, len(key), keySize)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read the host's key: %w", err)
	}
	key = make([]byte, keySize)
	_, _ = rand.Read(key) // never fails, by its documentation
	if err := atomicfile.WriteFile(path, key, 0o600); err != nil {
		return nil, fmt.Errorf("write the host's key: %w", err)
	}
	return key, nil
}
