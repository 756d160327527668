package atomicfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// ErrVersion is returned by [Store.Load] for a file that a newer program
// wrote. Nothing falls back then: the previous copy would be older state.
var ErrVersion = errors.New("written by a newer version")

// Store keeps one JSON value in a file with a version and a checksum, beside
// its previous copy. A torn, empty or altered file is told from a good one.
// It may be used concurrently; only one process may write a path.
type Store struct {
	mu      sync.Mutex
	path    string
	version int
	perm    fs.FileMode
}

// envelope is the file's form: the checksum is over the payload's bytes.
type envelope struct {
	Version  int             `json:"version"`
	Checksum string          `json:"checksum"`
	Payload  json.RawMessage `json:"payload"`
}

// Recovery says that the file could not be used, why, and what Load did.
type Recovery struct {
	// Path is the file that could not be used.
	Path string
	// Cause says what was wrong with it.
	Cause error
	// Previous is true where the previous copy was good and was returned.
	Previous bool
}

// String returns a sentence for the log and the journal.
func (r Recovery) String() string {
	if r.Previous {
		return fmt.Sprintf("%s was unusable (%v); its previous copy is used", r.Path, r.Cause)
	}
	return fmt.Sprintf("%s and its previous copy are unusable (%v)", r.Path, r.Cause)
}

// NewStore returns the store of path, whose payload has that version. Files
// are written with mode 0600.
func NewStore(path string, version int) *Store {
	return &Store{path: path, version: version, perm: 0o600}
}

// Path returns the file's path.
func (s *Store) Path() string { return s.path }

// Save replaces the file with v and keeps the former one as previous copy, if
// that was good: a damaged file never takes the place of a good copy.
func (s *Store) Save(v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", s.path, err)
	}
	data, err := json.Marshal(envelope{Version: s.version, Checksum: checksum(payload), Payload: payload})
	if err != nil {
		return fmt.Errorf("encode %s: %w", s.path, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	write := Replace
	if _, err := read(s.path, s.version); errors.Is(err, ErrVersion) {
		return fmt.Errorf("write %s: %w", s.path, err)
	} else if err != nil {
		write = WriteFile
	}
	return write(s.path, append(data, '\n'), s.perm)
}

// Load reads the file into v. Without a file and a previous copy it returns an
// error that is [fs.ErrNotExist]. A damaged file is answered from the previous
// copy, and with a Recovery; with no good copy the Recovery comes with an
// error, and v is untouched.
func (s *Store) Load(v any) (*Recovery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	payload, cause := read(s.path, s.version)
	if cause == nil {
		return nil, decode(s.path, payload, v)
	}
	if errors.Is(cause, ErrVersion) {
		return nil, fmt.Errorf("read %s: %w", s.path, cause)
	}
	payload, err := read(s.path+PreviousSuffix, s.version)
	switch {
	case err == nil:
		return &Recovery{Path: s.path, Cause: cause, Previous: true}, decode(s.path+PreviousSuffix, payload, v)
	case errors.Is(cause, fs.ErrNotExist) && errors.Is(err, fs.ErrNotExist):
		return nil, cause
	}
	return &Recovery{Path: s.path, Cause: errors.Join(cause, err)}, fmt.Errorf("read %s: %w", s.path, errors.Join(cause, err))
}

func read(path string, version int) (json.RawMessage, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("the file is empty")
	}
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("the file is torn: %w", err)
	}
	if e.Checksum != checksum(e.Payload) {
		return nil, errors.New("the checksum does not match")
	}
	if e.Version > version {
		return nil, fmt.Errorf("version %d, this program knows %d: %w", e.Version, version, ErrVersion)
	}
	return e.Payload, nil
}

func decode(path string, payload json.RawMessage, v any) error {
	if err := json.Unmarshal(payload, v); err != nil {
		return fmt.Errorf("decode %s: %w", path, err)
	}
	return nil
}

func checksum(payload []byte) string {
	sum := sha256.Sum256(payload)
	return "sha256:" + hex.EncodeToString(sum[:])
}
