package reconciler

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/remorahq/remora/reconciler/ledger"
)

func newTestStore(t *testing.T) *store {
	t.Helper()
	s, err := openStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A torn file is answered from its previous copy; with both torn, the app is
// left out and noted; a newer version stops the agent.
func TestStoreDamage(t *testing.T) {
	s := newTestStore(t)
	for _, a := range []ledger.App{
		{Version: 1, Environment: "a--b", Name: "c", Revision: "old"},
		{Version: 1, Environment: "a--b", Name: "c", Revision: "new"},
		{Version: 1, Environment: "a", Name: "b--c", Revision: "other"},
	} {
		if err := s.saveApp(a); err != nil {
			t.Fatal(err)
		}
	}
	revisions := func() map[string]string {
		t.Helper()
		apps, err := s.loadApps()
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for id, a := range apps {
			out[id] = a.Revision
		}
		return out
	}
	if diff := cmp.Diff(map[string]string{"a--b/c": "new", "a/b--c": "other"}, revisions()); diff != "" {
		t.Errorf("as written:\n%s", diff)
	}
	path := s.appFile("a--b", "c").Path()
	overwrite(t, path, `{"version":1,"checksum":"sha256:00","payl`)
	if diff := cmp.Diff(map[string]string{"a--b/c": "old", "a/b--c": "other"}, revisions()); diff != "" {
		t.Errorf("torn:\n%s", diff)
	}
	overwrite(t, path+".prev", "")
	if diff := cmp.Diff(map[string]string{"a/b--c": "other"}, revisions()); diff != "" {
		t.Errorf("both torn:\n%s", diff)
	}
	if len(s.notes) != 2 || !strings.Contains(s.notes[1], "its previous copy are unusable") {
		t.Errorf("notes: %q", s.notes)
	}
	if err := os.Rename(s.appFile("a", "b--c").Path(), path); err != nil {
		t.Fatal(err)
	}
	if got := revisions(); len(got) != 0 || !strings.Contains(s.notes[2], "holds app a/b--c") {
		t.Errorf("under another's name: %v, %q", got, s.notes)
	}
	newer := *s
	if err := newer.file("host.json").Save(ledger.Host{}); err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(filepath.Join(s.dir, "host.json"))
	overwrite(t, filepath.Join(s.dir, "host.json"), strings.Replace(string(data), `{"version":1,"checksum"`, `{"version":9,"checksum"`, 1))
	if _, err := s.loadHost(); err == nil || !strings.Contains(err.Error(), "upgrade remora again") {
		t.Errorf("newer version: %v", err)
	}
}

func overwrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A host key that was cut short is not made anew in silence: every container
// with inputs of the host would be recreated.
func TestHostKey(t *testing.T) {
	dir := t.TempDir()
	first, err := hostKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := hostKey(dir); err != nil || !slices.Equal(first, again) {
		t.Errorf("read again: %v", err)
	}
	overwrite(t, filepath.Join(dir, "host-key"), "short")
	if _, err := hostKey(dir); err == nil {
		t.Error("a short key was replaced")
	}
}

// Concurrent changes all reach the disk, and a reader sees only what is there.
func TestHostLedgerConcurrent(t *testing.T) {
	s := newTestStore(t)
	l := newHostLedger(s, ledger.Host{Version: ledger.Version})
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			port := uint16(i + 1)
			err := l.update(func(h *ledger.Host) error {
				if h.Ports == nil {
					h.Ports = map[string]uint16{}
				}
				h.Ports[fmt.Sprint(i)] = port
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			onDisk, err := s.loadHost()
			if err != nil || onDisk.Ports[fmt.Sprint(i)] != port {
				t.Errorf("change %d is not on disk: %v", i, err)
			}
			l.read(func(h *ledger.Host) {
				if h.Ports[fmt.Sprint(i)] != port {
					t.Errorf("change %d is not seen", i)
				}
			})
		})
	}
	all.Wait()
	if h, err := s.loadHost(); err != nil || len(h.Ports) != 50 {
		t.Errorf("%d ports on disk, %v", len(h.Ports), err)
	}
	refused := errors.New("refused")
	if err := l.update(func(h *ledger.Host) error { clear(h.Ports); return refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
	l.read(func(h *ledger.Host) {
		if len(h.Ports) != 50 {
			t.Error("a refused change was made")
		}
	})
}

// While the disk fails every change fails, none is seen, and the same change
// is written later.
func TestHostLedgerFailingDisk(t *testing.T) {
	s := newTestStore(t)
	l := newHostLedger(s, ledger.Host{Version: ledger.Version})
	good := s.dir
	s.dir = filepath.Join(good, "gone")
	claim := func(key string) error {
		return l.update(func(h *ledger.Host) error {
			if h.Claims == nil {
				h.Claims = map[string]string{}
			}
			h.Claims[key] = "app"
			return nil
		})
	}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if claim(fmt.Sprint(i)) == nil {
				t.Errorf("change %d is said to be on a disk that fails", i)
			}
		})
	}
	all.Wait()
	l.read(func(h *ledger.Host) {
		if len(h.Claims) != 0 {
			t.Errorf("claims that are not on disk: %v", h.Claims)
		}
	})
	s.dir = good
	if err := claim("1"); err != nil {
		t.Fatal(err)
	}
	if h, err := s.loadHost(); err != nil || len(h.Claims) != 1 || h.Claims["1"] != "app" {
		t.Errorf("on disk: %v, %v", h.Claims, err)
	}
}

// A change that changes nothing does not write.
func TestHostLedgerNoChange(t *testing.T) {
	s := newTestStore(t)
	l := newHostLedger(s, ledger.Host{Version: ledger.Version, Claims: map[string]string{"a": "b"}})
	s.dir = filepath.Join(s.dir, "gone")
	if err := l.update(func(h *ledger.Host) error { h.Claims["a"] = "b"; return nil }); err != nil {
		t.Error(err)
	}
}
