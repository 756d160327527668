package ambassador

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// TicketsFile is the name of the file with the keys of session tickets in the
// state folder.
const TicketsFile = "tickets.json"

const (
	ticketsVersion = 1
	// ticketTurn is how long a key makes new tickets, and ticketKeys how many
	// are kept to read old ones: a client resumes its session for three days.
	ticketTurn = 24 * time.Hour
	ticketKeys = 4
)

// ticketFile is what the workers share, over upgrades and restarts: who has it
// can read recorded sessions that were resumed.
type ticketFile struct {
	Keys []ticketKey `json:"keys"` // newest first
}

type ticketKey struct {
	Made time.Time `json:"made"`
	Key  []byte    `json:"key"`
}

// turned returns the keys as they should be at a time: with one that is younger
// than ticketTurn first, and no more than ticketKeys.
func (f ticketFile) turned(now time.Time) (_ ticketFile, changed bool) {
	if len(f.Keys) > 0 {
		if age := now.Sub(f.Keys[0].Made); age >= 0 && age < ticketTurn {
			return f, false
		}
	}
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails, by its documentation
	keys := append([]ticketKey{{Made: now, Key: key}}, f.Keys...)
	return ticketFile{Keys: keys[:min(len(keys), ticketKeys)]}, true
}

// derive makes the keys for one server name out of those of the worker, so that
// no ticket is of use where another name, or another authority of clients, is
// asked for.
func (f *ticketFile) derive(label string) ([][32]byte, error) {
	keys := make([][32]byte, 0, len(f.Keys))
	for _, k := range f.Keys {
		b, err := hkdf.Key(sha256.New, k.Key, nil, "remora session tickets: "+label, 32)
		if err != nil {
			return nil, fmt.Errorf("derive keys of session tickets: %w", err)
		}
		keys = append(keys, [32]byte(b))
	}
	return keys, nil
}

// loadTickets takes the keys on disk.
func (s *secrets) loadTickets() error {
	f := new(ticketFile)
	_, err := s.ticketFile.Load(f)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("load keys of session tickets: %w", err)
	}
	s.tickets.Store(f)
	return nil
}

// turnTickets makes a new key when it is time. Keys that cannot be written are
// used all the same: sessions are then not resumed after a restart.
func (s *secrets) turnTickets(now time.Time) error {
	f, changed := s.tickets.Load().turned(now)
	if !changed {
		return nil
	}
	s.tickets.Store(&f)
	if err := s.ticketFile.Save(f); err != nil {
		return fmt.Errorf("save keys of session tickets: %w", err)
	}
	return nil
}
