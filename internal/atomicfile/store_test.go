package atomicfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/remorahq/remora/internal/atomicfile"
)

type payload struct {
	N    int
	Text string
}

func TestStoreMissing(t *testing.T) {
	var got payload
	recovery, err := atomicfile.NewStore(filepath.Join(t.TempDir(), "a"), 1).Load(&got)
	if recovery != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, %v; want not-exist", recovery, err)
	}
}

func TestStoreRecovers(t *testing.T) {
	damages := map[string]func(t *testing.T, path string){
		"empty":  func(t *testing.T, path string) { overwrite(t, path, "") },
		"zeroes": func(t *testing.T, path string) { overwrite(t, path, "\x00\x00\x00") },
		"torn":   func(t *testing.T, path string) { overwrite(t, path, read(t, path)[:20]) },
		"altered": func(t *testing.T, path string) {
			overwrite(t, path, strings.Replace(read(t, path), `"N":2`, `"N":7`, 1))
		},
		"removed": func(t *testing.T, path string) { remove(t, path) },
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			store := atomicfile.NewStore(filepath.Join(t.TempDir(), "ledger.json"), 1)
			save(t, store, payload{N: 1})
			save(t, store, payload{N: 2})
			damage(t, store.Path())

			var got payload
			recovery, err := store.Load(&got)
			if err != nil || recovery == nil || !recovery.Previous || got.N != 1 {
				t.Fatalf("got %+v, %v, %v; want the previous copy and a report", got, recovery, err)
			}

			// The damaged file must not become the previous copy.
			save(t, store, payload{N: 3})
			overwrite(t, store.Path(), "")
			if recovery, err := store.Load(&got); err != nil || recovery == nil || got.N != 1 {
				t.Errorf("after another save: %+v, %v, %v; want N 1", got, recovery, err)
			}
		})
	}
}

func TestStoreBothDamaged(t *testing.T) {
	store := atomicfile.NewStore(filepath.Join(t.TempDir(), "a"), 1)
	save(t, store, payload{N: 1})
	save(t, store, payload{N: 2})
	overwrite(t, store.Path(), "{")
	overwrite(t, store.Path()+".prev", "{")
	got := payload{N: 9}
	recovery, err := store.Load(&got)
	if err == nil || errors.Is(err, fs.ErrNotExist) || recovery == nil || recovery.Previous || got.N != 9 {
		t.Errorf("got %+v, %v, %v", got, recovery, err)
	}
}

func TestStoreNewerVersionIsNotReplacedByOlderState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	save(t, atomicfile.NewStore(path, 1), payload{N: 1})
	save(t, atomicfile.NewStore(path, 2), payload{N: 2})
	var got payload
	if recovery, err := atomicfile.NewStore(path, 1).Load(&got); recovery != nil || !errors.Is(err, atomicfile.ErrVersion) {
		t.Errorf("got %+v, %v, %v; want ErrVersion", got, recovery, err)
	}
	if err := atomicfile.NewStore(path, 1).Save(payload{N: 3}); !errors.Is(err, atomicfile.ErrVersion) {
		t.Errorf("save: %v, want ErrVersion", err)
	}
}

// Every prefix of a good file is a torn one.
func FuzzStoreTorn(f *testing.F) {
	f.Add(10, "text")
	f.Fuzz(func(t *testing.T, cut int, text string) {
		store := atomicfile.NewStore(filepath.Join(t.TempDir(), "a"), 1)
		save(t, store, payload{Text: text})
		whole := strings.TrimSuffix(read(t, store.Path()), "\n")
		if cut < 0 || cut >= len(whole) {
			t.Skip()
		}
		overwrite(t, store.Path(), whole[:cut])
		var got payload
		if _, err := store.Load(&got); err == nil {
			t.Errorf("a file cut at %d of %d was read as %+v", cut, len(whole), got)
		}
	})
}

func save(t *testing.T, s *atomicfile.Store, v any) {
	t.Helper()
	if err := s.Save(v); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
