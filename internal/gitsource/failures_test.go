package gitsource

import (
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/atomicfile"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

func TestForcePush(t *testing.T) {
	r := newRepo(t)
	r.commit("a", "1")
	base := r.head()
	r.commit("a", "2")
	s := openSource(t, manifests.Source{URL: r.serveHTTP((*httptest.Server).Start).url}, Options{})
	former := mustFetch(t, s)

	r.git(r.work, "reset", "-q", "--hard", base)
	amended := r.commit("a", "3")
	rev := mustFetch(t, s)
	if rev.SHA != amended || !rev.Rewritten || rev.HistoryUnknown || rev.Previous != former.SHA {
		t.Errorf("amended: %+v", rev)
	}
	r.git(r.work, "reset", "-q", "--hard", base)
	r.git(r.work, "push", "-q", "-f", "origin", "HEAD")
	if rev := mustFetch(t, s); rev.SHA != base || !rev.Rewritten {
		t.Errorf("taken back: %+v", rev)
	}
	if rev := mustFetch(t, s); rev.SHA != base || readFile(t, filepath.Join(rev.Folder, "a")) != "1" {
		t.Errorf("after that: %+v", rev)
	}
	r.git(r.work, "checkout", "-q", "--orphan", "fresh")
	orphan := r.push("orphan")
	r.git(r.work, "push", "-q", "-f", "origin", "fresh:main")
	if rev := mustFetch(t, s); rev.SHA != orphan || !rev.Rewritten {
		t.Errorf("unrelated history: %+v", rev)
	}
}

// A former head farther back than what is fetched is not called a rewrite.
func TestHistoryBeyondDepth(t *testing.T) {
	r := newRepo(t)
	r.commit("a", "1")
	s := openSource(t, manifests.Source{URL: r.serveHTTP((*httptest.Server).Start).url}, Options{})
	mustFetch(t, s)
	for range depth + 5 {
		r.git(r.work, "commit", "-q", "--allow-empty", "-m", "x")
	}
	r.push("last")
	if rev := mustFetch(t, s); rev.Rewritten || !rev.HistoryUnknown {
		t.Errorf("%+v", rev)
	}
	r.git(r.work, "commit", "-q", "--amend", "--allow-empty", "-m", "amended")
	r.git(r.work, "push", "-q", "-f", "origin", "HEAD")
	if rev := mustFetch(t, s); !rev.Rewritten {
		t.Errorf("amended on a shallow history: %+v", rev)
	}
}

func TestRefs(t *testing.T) {
	r := newRepo(t)
	one := r.commit("a", "1")
	r.git(r.work, "tag", "v1")
	r.git(r.work, "tag", "-a", "-m", "release", "v2")
	r.git(r.work, "push", "-q", "--tags", "origin")
	two := r.commit("a", "2")
	r.git(r.work, "branch", "both")
	r.git(r.work, "tag", "both", one)
	r.git(r.work, "push", "-q", "origin", "refs/heads/both", "refs/tags/both")
	for _, url := range []string{r.fileURL(), r.serveHTTP((*httptest.Server).Start).url} {
		for ref, want := range map[string]string{
			"v1": one, "v2": one, "refs/tags/v2": one, "main": two, "both": two, "refs/tags/both": one, "HEAD": two,
		} {
			s := openSource(t, manifests.Source{URL: url, Ref: ref}, Options{})
			if rev := mustFetch(t, s); rev.SHA != want || rev.TagMoved {
				t.Errorf("%s: %+v, want %s", ref, rev, want)
			}
		}
	}
}

func TestTagMoved(t *testing.T) {
	r := newRepo(t)
	r.commit("a", "1")
	for _, kind := range [][]string{{"tag", "-f", "v1"}, {"tag", "-f", "-a", "-m", "x", "v1"}} {
		r.git(r.work, kind...)
		r.git(r.work, "push", "-q", "-f", "origin", "v1")
		s := openSource(t, manifests.Source{URL: r.serveHTTP((*httptest.Server).Start).url, Ref: "v1"}, Options{})
		if rev := mustFetch(t, s); rev.TagMoved || rev.String() != "v1@sha1:"+r.head()[:8] {
			t.Errorf("first: %+v", rev)
		}
		moved := r.commit("a", "moved by "+kind[1]+kind[2])
		r.git(r.work, kind...)
		r.git(r.work, "push", "-q", "-f", "origin", "v1")
		if rev := mustFetch(t, s); !rev.TagMoved || rev.SHA != moved {
			t.Errorf("moved: %+v", rev)
		}
	}
}

func TestDeletedBranch(t *testing.T) {
	r := newRepo(t)
	sha := r.commit("a", "1")
	r.git(r.work, "push", "-q", "origin", "HEAD:staging")
	s := openSource(t, manifests.Source{URL: r.serveHTTP((*httptest.Server).Start).url, Ref: "staging"}, Options{})
	mustFetch(t, s)
	r.git(r.work, "push", "-q", "origin", ":staging")
	rev, err := s.Fetch(t.Context())
	wantError(t, err, status.GitOperationFailed, `no such branch or tag "staging"`, "set ref to one of: main")
	if !errors.Is(err, ErrRefGone) || rev.SHA != sha || s.Current().SHA != sha {
		t.Errorf("got %v, %v; the last good revision must stay", rev, err)
	}
}

func TestEmptyRepository(t *testing.T) {
	r := newRepo(t)
	ssh := r.serveSSH()
	for name, src := range map[string]manifests.Source{
		"file": {URL: r.fileURL()}, "git": {URL: r.serveGit()}, "http": {URL: r.serveHTTP((*httptest.Server).Start).url},
		"ssh": {URL: ssh.url, Auth: manifests.Auth{KeyFile: ssh.userKey, KnownHosts: ssh.knownHosts}},
	} {
		_, err := openSource(t, src, Options{}).Fetch(t.Context())
		wantError(t, err, status.GitOperationFailed, "the repository is empty")
		if !errors.Is(err, ErrEmptyRepository) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoRepository(t *testing.T) {
	r := newRepo(t)
	r.commit("a", "1")
	ssh := r.serveSSH()
	for name, src := range map[string]manifests.Source{
		"file": {URL: r.fileURL() + "x"}, "git": {URL: r.serveGit() + "x"}, "http": {URL: r.serveHTTP((*httptest.Server).Start).url + "x"},
		"ssh": {URL: ssh.url + "x", Auth: manifests.Auth{KeyFile: ssh.userKey, KnownHosts: ssh.knownHosts}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := openSource(t, src, Options{}).Fetch(t.Context())
			wantError(t, err, status.GitOperationFailed)
		})
	}
}

// Whatever happens to the files on disk, the next fetch mends it, and until
// then nothing damaged is in force after a restart.
func TestTornCache(t *testing.T) {
	sealOf := func(rev status.Revision) string { return rev.Folder + ".json" }
	damages := map[string]func(t *testing.T, state string, rev status.Revision){
		"altered file": func(t *testing.T, _ string, rev status.Revision) {
			writeFile(t, filepath.Join(rev.Folder, "a"), "evil")
		},
		"emptied file": func(t *testing.T, _ string, rev status.Revision) { writeFile(t, filepath.Join(rev.Folder, "a"), "") },
		"mode": func(t *testing.T, _ string, rev status.Revision) {
			check(t, os.Chmod(filepath.Join(rev.Folder, "a"), 0o755))
		},
		"missing file": func(t *testing.T, _ string, rev status.Revision) {
			check(t, os.Chmod(rev.Folder, 0o755))
			check(t, os.Remove(filepath.Join(rev.Folder, "a")))
		},
		"added file": func(t *testing.T, _ string, rev status.Revision) {
			check(t, os.Chmod(rev.Folder, 0o755))
			writeFile(t, filepath.Join(rev.Folder, "b"), "new")
		},
		"missing folder": func(t *testing.T, _ string, rev status.Revision) { check(t, atomicfile.RemoveTree(rev.Folder)) },
		"missing seal":   func(t *testing.T, _ string, rev status.Revision) { check(t, os.Remove(sealOf(rev))) },
		"torn seal":      func(t *testing.T, _ string, rev status.Revision) { writeFile(t, sealOf(rev), `{"version"`) },
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			r := newRepo(t)
			r.write("a", "good")
			sha := r.push("x")
			state := t.TempDir()
			src := manifests.Source{URL: r.serveHTTP((*httptest.Server).Start).url}
			s := openSource(t, src, Options{State: state})
			rev := mustFetch(t, s)
			check(t, s.Close())
			damage(t, state, rev)
			s = openSource(t, src, Options{State: state})
			if got := s.Current(); !got.IsZero() {
				t.Errorf("a damaged revision is in force: %+v", got)
			}
			for range 2 {
				if rev := mustFetch(t, s); rev.SHA != sha || readFile(t, filepath.Join(rev.Folder, "a")) != "good" {
					t.Errorf("not mended: %+v", rev)
				}
			}
		})
	}
}

// While the agent runs, a vanished folder is seen at once and an altered file
// at the next full look.
func TestTornCacheWhileRunning(t *testing.T) {
	r := newRepo(t)
	r.commit("a", "good")
	s := openSource(t, manifests.Source{URL: r.fileURL()}, Options{})
	rev := mustFetch(t, s)
	check(t, atomicfile.RemoveTree(rev.Folder))
	rev = mustFetch(t, s)
	if got := readFile(t, filepath.Join(rev.Folder, "a")); got != "good" {
		t.Errorf("got %q", got)
	}
	writeFile(t, filepath.Join(rev.Folder, "a"), "evil")
	s.verified = time.Now().Add(-verifyEvery)
	rev = mustFetch(t, s)
	if got := readFile(t, filepath.Join(rev.Folder, "a")); got != "good" {
		t.Errorf("got %q", got)
	}
}

func TestTornRecord(t *testing.T) {
	r := newRepo(t)
	one := r.commit("a", "1")
	state := t.TempDir()
	src := manifests.Source{URL: r.fileURL()}
	s := openSource(t, src, Options{State: state})
	mustFetch(t, s)
	r.commit("a", "2")
	mustFetch(t, s)
	check(t, s.Close())
	writeFile(t, filepath.Join(state, "sources/fleet.json"), "")
	s = openSource(t, src, Options{State: state})
	if got := s.Current().SHA; got != one {
		t.Errorf("from the previous copy: %s, want %s", got, one)
	}
	writeFile(t, filepath.Join(state, "sources/fleet.json.prev"), "{")
	s = openSource(t, src, Options{State: state})
	if rev := mustFetch(t, s); readFile(t, filepath.Join(rev.Folder, "a")) != "2" {
		t.Errorf("%+v", rev)
	}
}

func TestRestartWithServerDown(t *testing.T) {
	r := newRepo(t)
	sha := r.commit("a", "1")
	web := r.serveHTTP((*httptest.Server).Start)
	state := t.TempDir()
	src := manifests.Source{URL: web.url}
	s := openSource(t, src, Options{State: state})
	fetched := mustFetch(t, s)
	check(t, s.Close())
	web.Close()

	s = openSource(t, src, Options{State: state})
	rev, err := s.Fetch(t.Context())
	wantError(t, err, status.GitOperationFailed, "connection refused", "fetch http://127.0.0.1")
	if rev.SHA != sha || s.Current().SHA != sha || rev.Folder != fetched.Folder || rev.Commit.Subject != "change a" {
		t.Errorf("in force: %+v", rev)
	}
	if _, err := s.Probe(t.Context()); err == nil {
		t.Error("probe of a dead server succeeded")
	}
	src.Ref = "other"
	if got := openSource(t, src, Options{State: state}).Current(); !got.IsZero() {
		t.Errorf("another ref has the old one's revision: %+v", got)
	}
}

func TestTimeout(t *testing.T) {
	r := newRepo(t)
	r.commit("a", "1")
	web := r.serveHTTP((*httptest.Server).Start)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer silent.Close()
	web.answer(func(_ http.ResponseWriter, req *http.Request) bool { <-req.Context().Done(); return true })
	key := filepath.Join(t.TempDir(), "key")
	newKey(t, key)
	hosts := filepath.Join(t.TempDir(), "hosts")
	writeFile(t, hosts, "")
	for name, src := range map[string]manifests.Source{
		"http": {URL: web.url},
		"git":  {URL: "git://" + silent.Addr().String() + "/fleet.git"},
		"ssh":  {URL: "ssh://" + silent.Addr().String() + "/fleet.git", Auth: manifests.Auth{KeyFile: key, KnownHosts: hosts}},
	} {
		t.Run(name, func(t *testing.T) {
			src.Timeout = manifests.Duration(150 * time.Millisecond)
			start := time.Now()
			_, err := openSource(t, src, Options{}).Fetch(t.Context())
			wantError(t, err, status.GitOperationFailed, "no answer within 150ms")
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// Servers that answer nonsense or too much.
func TestHostileServers(t *testing.T) {
	r := newRepo(t)
	r.write("big", strings.Repeat("incompressible? "+r.top, 1))
	r.commit("a", "1")
	web := r.serveHTTP((*httptest.Server).Start)
	pass := func(http.ResponseWriter, *http.Request) bool { return false }
	for name, c := range map[string]struct {
		guard func(http.ResponseWriter, *http.Request) bool
		opts  Options
		words []string
	}{
		"login page": {guard: func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write([]byte("<html>please log in</html>"))
			return true
		}},
		"unavailable": {guard: func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}, words: []string{"503"}},
		"truncated pack": {guard: func(w http.ResponseWriter, req *http.Request) bool {
			if req.Method != http.MethodPost {
				return false
			}
			w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
			_, _ = w.Write([]byte("0008NAK\n0010\x01PACK\x00\x00\x00\x02\x00\x00"))
			return true
		}},
		"too much": {guard: pass, opts: Options{Limits: Limits{PackBytes: 200}}, words: []string{"more than the limit"}},
		"reset": {guard: func(w http.ResponseWriter, _ *http.Request) bool {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = conn.Close()
			}
			return true
		}},
	} {
		t.Run(name, func(t *testing.T) {
			web.answer(c.guard)
			c.opts.State = t.TempDir()
			s := openSource(t, manifests.Source{URL: web.url}, c.opts)
			_, err := s.Fetch(t.Context())
			wantError(t, err, status.GitOperationFailed, c.words...)
			t.Log(err)
			wantNames(t, filepath.Join(c.opts.State, "revisions/fleet"))
			web.answer(pass)
			if name != "too much" {
				mustFetch(t, s)
			}
		})
	}
}

// A garbled answer is tried once more at once: the branch may have moved
// between the two requests of a fetch.
func TestSecondTry(t *testing.T) {
	r := newRepo(t)
	r.commit("a", "1")
	web := r.serveHTTP((*httptest.Server).Start)
	failed := false
	web.answer(func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method != http.MethodPost || failed {
			return false
		}
		failed = true
		w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		_, _ = w.Write([]byte("002cERR upload-pack: not our ref 0123456789\n"))
		return true
	})
	mustFetch(t, openSource(t, manifests.Source{URL: web.url}, Options{}))
	if !failed {
		t.Error("the server was not asked")
	}
}

// On a full disk the revision in force stays, nothing is left behind, and the
// next fetch after space was made works.
func TestDiskFull(t *testing.T) {
	r := newRepo(t)
	sha := r.commit("a", "1")
	state := t.TempDir()
	if err := syscall.Mount("tmpfs", state, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("needs the right to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(state, 0); err != nil {
			t.Errorf("a file of the state folder is still open: %v", err)
		}
	})
	var sources []*Source
	for name, url := range map[string]string{"file": r.fileURL(), "http": r.serveHTTP((*httptest.Server).Start).url} {
		s := openSource(t, manifests.Source{Name: name, URL: url}, Options{State: state})
		mustFetch(t, s)
		sources = append(sources, s)
	}
	random := make([]byte, 2<<20)
	_, err := rand.Read(random)
	check(t, err)
	r.commit("big", string(random))
	for _, s := range sources {
		rev, err := s.Fetch(t.Context())
		wantError(t, err, status.DiskLow, "no space left", "free space")
		if rev.SHA != sha {
			t.Errorf("in force: %+v", rev)
		}
		wantNames(t, s.revs.dir, sha, sha+".json")
	}
	r.git(r.work, "reset", "-q", "--hard", sha)
	small := r.commit("a", "2")
	for _, s := range sources {
		if rev := mustFetch(t, s); rev.SHA != small {
			t.Errorf("with space: %+v", rev)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	check(t, err)
	var got []string
	for _, d := range list {
		got = append(got, d.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s holds %v, want %v", dir, got, want)
	}
}
