package content

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/remorahq/remora/internal/atomicfile"
)

// DataDir returns the host folder of a relative bind whose source is not in
// the commit: data/<project>/<path>, made with mode 0755 where it is missing,
// as Compose does. A path that leaves the project's folder is [ErrPath], and so
// is one that goes through a link: containers write here, and a link planted by
// one must not lead a mount out.
func (s *Store) DataDir(project, path string) (string, error) {
	if err := checkProject(project); err != nil {
		return "", err
	}
	if strings.ContainsRune(path, 0) || !filepath.IsLocal(path) {
		return "", fmt.Errorf("data folder %q of %s: %w; use a path below the app's folder, a named volume, or an absolute path that the host allows", path, project, ErrPath)
	}
	root, err := os.OpenRoot(s.data())
	if err != nil {
		return "", fmt.Errorf("data folder %q of %s: %w", path, project, err)
	}
	defer func() { _ = root.Close() }() // nothing is written through it
	name := filepath.Join(project, filepath.Clean(path))
	if err := s.mkdirAll(root, name); err != nil {
		return "", fmt.Errorf("data folder %q of %s: %w", path, project, err)
	}
	return filepath.Join(s.data(), name), nil
}

// mkdirAll makes what is missing of name, each level durable, and refuses
// links. The last element may be a file that is there already.
func (s *Store) mkdirAll(root *os.Root, name string) error {
	done := "."
	for part := range strings.SplitSeq(name, string(filepath.Separator)) {
		parent := done
		done = filepath.Join(done, part)
		info, err := root.Lstat(done)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if err := makeFolder(root, done); err != nil {
				return err
			}
			if err := atomicfile.SyncDir(filepath.Join(s.data(), parent)); err != nil {
				return err
			}
		case err != nil:
			return err
		case info.Mode()&fs.ModeSymlink != 0:
			return fmt.Errorf("%w: %s is a link", ErrPath, done)
		case !info.IsDir() && done != name:
			return fmt.Errorf("%s is a file", done)
		}
	}
	return nil
}

// makeFolder makes a folder with mode 0755, whatever the umask.
func makeFolder(root *os.Root, name string) error {
	err := root.Mkdir(name, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil // another call was faster
	}
	return errors.Join(err, root.Chmod(name, 0o755))
}

// checkProject accepts what Compose accepts as a project name.
func checkProject(name string) error {
	if !regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,199}$`).MatchString(name) {
		return fmt.Errorf("project name %q: %w", name, ErrPath)
	}
	return nil
}
