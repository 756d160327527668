package rig

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// systemdRootLife is how long a root file system is used before it is made
// anew, with the packages of that day.
const systemdRootLife = 30 * 24 * time.Hour

// SystemdRoot is the path of a tar archive with a root file system of this
// machine's release of Debian and systemd. debootstrap makes it when it is not
// in the cache yet, in a minute or so.
func SystemdRoot(t TB) string {
	t.Helper()
	requireRoot(t, "a root file system")
	path, err := systemdRoot(t.Context())
	must(t, "make a root file system of Debian", err)
	return path
}

func systemdRoot(ctx context.Context) (string, error) {
	suite, err := codename()
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache folder: %w", err)
	}
	const include = "systemd,systemd-sysv"
	sum := sha256.Sum256([]byte(suite + runtime.GOARCH + include + strings.Join(trimmed(), ",")))
	path := filepath.Join(cache, "remora-rig", "systemd-"+hex.EncodeToString(sum[:8])+".tar")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("make cache: %w", err)
	}
	unlock, err := lockFile(path + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) < systemdRootLife {
		return path, nil
	}
	return path, bootstrap(ctx, suite, include, path)
}

// codename is this machine's release of Debian.
func codename() (string, error) {
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return "", fmt.Errorf("find this machine's release: %w", err)
	}
	defer f.Close() //nolint:errcheck // opened for reading
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "VERSION_CODENAME="); ok {
			return strings.Trim(name, `"`), nil
		}
	}
	return "", errors.Join(errors.New("find this machine's release: /etc/os-release has no VERSION_CODENAME"), lines.Err())
}

// mirror is where this machine's own packages come from; empty is debootstrap's
// choice.
func mirror(ctx context.Context, suite string) string {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(SITE) $(CODENAME) $(COMPONENT)", "Created-By: Packages").Output()
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 && f[1] == suite && f[2] == "main" {
			return f[0]
		}
	}
	return ""
}

// trimmed is what no test needs of a root file system.
func trimmed() []string {
	return []string{"./usr/share/doc", "./usr/share/man", "./usr/share/locale", "./usr/share/info", "./var/cache/apt", "./var/lib/apt/lists", "./dev"}
}

// bootstrap makes the archive beside its place and renames it. The work is done
// under the rig's own folder: a temporary one may not allow device nodes.
func bootstrap(ctx context.Context, suite, include, path string) error {
	if err := os.MkdirAll(slotBase(), 0o755); err != nil {
		return fmt.Errorf("make folder of the rig: %w", err)
	}
	removeRoots() // of who was killed: the cache's lock is ours
	root, err := os.MkdirTemp(slotBase(), "debian-")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer removeRoots() // packed, or of no use
	debootstrap, err := exec.LookPath("debootstrap")
	if err != nil {
		debootstrap = "/usr/sbin/debootstrap"
	}
	args := []string{"--variant=minbase", "--include=" + include, suite, root}
	if site := mirror(ctx, suite); site != "" {
		args = append(args, site)
	}
	out, err := exec.CommandContext(ctx, debootstrap, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("debootstrap: %w (apt-get install debootstrap, if it is missing)\n%s", err, out)
	}
	args = []string{"--numeric-owner", "-C", root, "-cf", path + ".new"}
	for _, what := range trimmed() {
		args = append(args, "--exclude="+what+"/*")
	}
	if out, err := exec.CommandContext(ctx, "tar", append(args, ".")...).CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("pack: %w: %s", err, out), os.RemoveAll(path+".new"))
	}
	return os.Rename(path+".new", path)
}

// removeRoots removes the folders of bootstraps, also of one that was killed
// with its mounts in place.
func removeRoots() {
	roots, _ := filepath.Glob(filepath.Join(slotBase(), "debian-*"))
	for _, root := range roots {
		for _, mount := range []string{"proc", "sys"} {
			for syscall.Unmount(filepath.Join(root, mount), syscall.MNT_DETACH) == nil {
			}
		}
		_ = os.RemoveAll(root) // the next one tries again
	}
}

// ImportImage makes an image of one layer of a tar archive, with changes as in
// a Dockerfile, such as `ENV a=b`.
func (e *Engine) ImportImage(t TB, archive, repository string, changes ...string) string {
	t.Helper()
	f, err := os.Open(archive)
	must(t, "import image", err)
	defer f.Close() //nolint:errcheck // opened for reading
	query := url.Values{"fromSrc": {"-"}, "repo": {repository}, "tag": {"v1"}, "changes": changes}
	_, err = e.stream(t.Context(), "/images/create?"+query.Encode(), f, nil)
	must(t, "import image", err)
	return repository + ":v1"
}
