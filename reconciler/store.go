package reconciler

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/remorahq/remora/internal/atomicfile"
	"github.com/remorahq/remora/reconciler/ledger"
)

// store is the ledger on disk: one file for what apps share and one per app,
// so that a step of one app writes little. Every file is written atomically
// and keeps its previous copy. It is safe for concurrent use on different
// apps.
type store struct {
	dir string
	// notes say which files were damaged, and what was done about it.
	notes []string
}

// openStore makes the ledger's folder below state.
func openStore(state string) (*store, error) {
	s := &store{dir: filepath.Join(state, "ledger")}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the ledger's folder: %w", err)
	}
	if err := atomicfile.Clean(s.dir); err != nil {
		return nil, fmt.Errorf("clean the ledger's folder: %w", err)
	}
	return s, nil
}

func (s *store) hostFile() *atomicfile.Store { return s.file("host.json") }

// appFile holds one app; its name is the app's ID, so that no two share one.
func (s *store) appFile(env, app string) *atomicfile.Store {
	return s.file("app-" + url.PathEscape(env+"/"+app) + ".json")
}

func (s *store) file(name string) *atomicfile.Store {
	return atomicfile.NewStore(filepath.Join(s.dir, name), ledger.Version)
}

// loadHost reads the shared part; missing or lost, it is empty.
func (s *store) loadHost() (ledger.Host, error) {
	h := ledger.Host{Version: ledger.Version}
	err := s.load(s.hostFile(), &h)
	return h, err
}

func (s *store) saveHost(h ledger.Host) error {
	if err := s.hostFile().Save(h); err != nil {
		return fmt.Errorf("save the host's ledger: %w", err)
	}
	return nil
}

// loadApps reads every app's file. One that is damaged beyond recovery is
// noted and left out: it is rebuilt from the engine.
func (s *store) loadApps() (map[string]ledger.App, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("read the ledger's folder: %w", err)
	}
	apps := map[string]ledger.App{}
	for _, name := range appFiles(entries) {
		var a ledger.App
		if err := s.load(s.file(name), &a); err != nil {
			return nil, err
		}
		switch {
		case a.Name == "": // lost: it is rebuilt
		case s.appFile(a.Environment, a.Name).Path() != s.file(name).Path():
			s.notes = append(s.notes, fmt.Sprintf("%s holds app %s, so it is not used", name, a.ID()))
		default:
			apps[a.ID()] = a
		}
	}
	return apps, nil
}

// appFiles returns the names of the apps' files, also of those that only their
// previous copy is left of.
func appFiles(entries []fs.DirEntry) []string {
	seen := map[string]bool{}
	var names []string
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), atomicfile.PreviousSuffix)
		if strings.HasPrefix(name, "app-") && strings.HasSuffix(name, ".json") && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}

func (s *store) saveApp(a ledger.App) error {
	if err := s.appFile(a.Environment, a.Name).Save(a); err != nil {
		return fmt.Errorf("save the ledger of %s: %w", a.ID(), err)
	}
	return nil
}

// removeApp forgets an app that is gone, the previous copy first so that no
// crash brings it back.
func (s *store) removeApp(env, app string) error {
	path := s.appFile(env, app).Path()
	for _, p := range []string{path + atomicfile.PreviousSuffix, path} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the ledger of %s/%s: %w", env, app, err)
		}
	}
	return atomicfile.SyncDir(s.dir)
}

// load reads a file into v; what is missing or lost leaves v as it is.
func (s *store) load(f *atomicfile.Store, v any) error {
	rec, err := f.Load(v)
	if rec != nil {
		s.notes = append(s.notes, rec.String())
	}
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist), rec != nil && !errors.Is(err, atomicfile.ErrVersion):
		return nil
	case errors.Is(err, atomicfile.ErrVersion):
		return fmt.Errorf("read the ledger: %w: upgrade remora again, or move %s away to rebuild it from the engine", err, f.Path())
	}
	return fmt.Errorf("read the ledger: %w", err)
}
