package certfiles

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/remorahq/remora/e2e/certtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kept is a keeper of one pair in a folder.
type kept struct {
	*Keeper
	t       *testing.T
	ca      *certtest.CA
	dir     string
	files   Files
	changed chan Files
}

func newKept(t *testing.T) *kept {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	k := &kept{t: t, ca: certtest.New(t), dir: dir, changed: make(chan Files, 100)}
	k.files = Files{Chain: filepath.Join(dir, "live/tls.crt"), Key: filepath.Join(dir, "live/tls.key")}
	k.Keeper, err = New(Options{
		Log: slog.New(slog.DiscardHandler), Changed: func(f Files) { k.changed <- f }, Settle: 20 * time.Millisecond, Look: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

func (k *kept) write(dir string, p certtest.Pair) {
	k.t.Helper()
	k.mkdir(dir)
	k.put(filepath.Join(dir, "tls.crt"), p.Cert)
	k.put(filepath.Join(dir, "tls.key"), p.Key)
}

func (k *kept) mkdir(dir string) {
	k.t.Helper()
	k.must(os.MkdirAll(filepath.Join(k.dir, dir), 0o755))
}

func (k *kept) put(path string, data []byte) {
	k.t.Helper()
	k.must(os.WriteFile(filepath.Join(k.dir, path), data, 0o600))
}

// link replaces a link as a rename does, at once.
func (k *kept) link(target, path string) {
	k.t.Helper()
	path = filepath.Join(k.dir, path)
	k.must(os.Symlink(target, path+".new"))
	k.must(os.Rename(path+".new", path))
}

func (k *kept) must(err error) {
	k.t.Helper()
	if err != nil {
		k.t.Fatal(err)
	}
}

func (k *kept) await(what string, ok func(State) bool) State {
	k.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		s := k.State(k.files)
		if ok(s) {
			return s
		}
		select {
		case <-k.changed:
		case <-deadline:
			k.t.Fatalf("waited for %s; trouble %q, watched %v", what, s.Trouble, k.watch.WatchList())
		}
	}
}

func (k *kept) awaitPair(what string, p certtest.Pair) {
	k.t.Helper()
	k.await(what, func(s State) bool {
		return string(s.Chain) == string(p.Cert) && string(s.Key) == string(p.Key) && s.Trouble == ""
	})
}

// TestSwaps: the ways in which others put a new certificate in place of the old.
func TestSwaps(t *testing.T) {
	for name, c := range map[string]struct {
		before, after func(k *kept, p certtest.Pair)
	}{
		"overwritten": {
			func(k *kept, p certtest.Pair) { k.write("live", p) },
			func(k *kept, p certtest.Pair) { k.write("live", p) },
		},
		"renamed": {
			func(k *kept, p certtest.Pair) { k.write("live", p) },
			func(k *kept, p certtest.Pair) {
				k.write("new", p)
				for _, f := range []string{"tls.crt", "tls.key"} {
					k.must(os.Rename(filepath.Join(k.dir, "new", f), filepath.Join(k.dir, "live", f)))
				}
			},
		},
		"links_as_certbot": {
			func(k *kept, p certtest.Pair) {
				k.write("archive/1", p)
				k.mkdir("live")
				k.link("../archive/1/tls.crt", "live/tls.crt")
				k.link("../archive/1/tls.key", "live/tls.key")
			},
			func(k *kept, p certtest.Pair) {
				k.write("archive/2", p)
				k.link("../archive/2/tls.crt", "live/tls.crt")
				k.link("../archive/2/tls.key", "live/tls.key")
			},
		},
		"data_link_as_kubernetes": {
			func(k *kept, p certtest.Pair) {
				k.write("live/..1", p)
				k.link("..1", "live/..data")
				k.link("..data/tls.crt", "live/tls.crt")
				k.link("..data/tls.key", "live/tls.key")
			},
			func(k *kept, p certtest.Pair) {
				k.write("live/..2", p)
				k.link("..2", "live/..data")
				k.must(os.RemoveAll(filepath.Join(k.dir, "live/..1")))
			},
		},
		"folder_is_a_link": {
			func(k *kept, p certtest.Pair) { k.write("v1", p); k.link(filepath.Join(k.dir, "v1"), "live") },
			func(k *kept, p certtest.Pair) { k.write("v2", p); k.link(filepath.Join(k.dir, "v2"), "live") },
		},
		"comes_late": {
			func(*kept, certtest.Pair) {},
			func(k *kept, p certtest.Pair) { k.write("live", p) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKept(t)
			first, second, third := k.ca.Issue(t, "a.test"), k.ca.Issue(t, "a.test"), k.ca.Issue(t, "a.test")
			c.before(k, first)
			k.Keep([]Files{k.files})
			if s := k.State(k.files); (name == "comes_late") != (s.Trouble != "") {
				t.Errorf("at first: trouble %q", s.Trouble)
			}
			c.after(k, second)
			k.awaitPair("the second pair", second)
			if name == "links_as_certbot" || name == "folder_is_a_link" {
				return // the third would be in the place of the second
			}
			k.write("live", third) // what is watched is still watched
			k.awaitPair("the third pair", third)
		})
	}
}

// TestBadKeepsGood: whatever is wrong with new files, the former certificate
// stays and the trouble is told; it ends with the next good one.
func TestBadKeepsGood(t *testing.T) {
	k := newKept(t)
	good := k.ca.Issue(t, "a.test")
	k.write("live", good)
	k.Keep([]Files{k.files})
	other, ended := k.ca.Issue(t, "a.test"), k.ca.IssueUntil(t, time.Now().Add(-time.Minute), "a.test")
	crt, key := filepath.Join(k.dir, "live/tls.crt"), filepath.Join(k.dir, "live/tls.key")
	for _, c := range []struct {
		text  string
		spoil func()
	}{
		{"are no pair: private key does not match public key", func() { k.put("live/tls.crt", other.Cert) }},
		{"are no pair: failed to find any PEM data in certificate input", func() { k.put("live/tls.crt", nil) }},
		{"ended at", func() { k.write("live", ended) }},
		{"no such file", func() { k.must(os.Remove(key)) }},
		{"is larger than", func() { k.put("live/tls.crt", make([]byte, maxFile+1)) }},
		{"is no file", func() { k.must(os.Remove(crt)); k.must(syscall.Mkfifo(crt, 0o600)) }},
		{"is no file", func() { k.must(os.Remove(crt)); k.must(os.Mkdir(crt, 0o755)) }},
	} {
		c.spoil()
		s := k.await(c.text, func(s State) bool { return strings.Contains(s.Trouble, c.text) })
		if string(s.Chain) != string(good.Cert) || string(s.Key) != string(good.Key) || s.Since.IsZero() {
			t.Errorf("%s: the former pair is not in force", c.text)
		}
		if strings.Contains(s.Trouble, "PRIVATE") {
			t.Errorf("trouble tells of the key: %q", s.Trouble)
		}
	}
	k.must(os.Remove(crt))
	k.write("live", other)
	k.awaitPair("the good pair", other)
}

func TestAuthorities(t *testing.T) {
	k := newKept(t)
	k.files = Files{Chain: filepath.Join(k.dir, "ca.pem")}
	k.put("ca.pem", k.ca.PEM())
	k.Keep([]Files{k.files})
	if s := k.State(k.files); s.Trouble != "" || string(s.Chain) != string(k.ca.PEM()) {
		t.Errorf("%+v", s)
	}
	k.put("ca.pem", k.ca.Issue(t, "x").Key)
	k.await("trouble", func(s State) bool { return strings.Contains(s.Trouble, "no certificate of an authority") })
	k.Keep(nil)
	if s := k.State(k.files); s.Chain != nil {
		t.Error("what is not kept has a state")
	}
}

func TestWarnings(t *testing.T) {
	ca := certtest.New(t)
	now := time.Now()
	chain := ca.IssueUntil(t, now.Add(48*time.Hour), "a.test", "*.b.test").Cert
	got := Warnings(chain, []string{"a.test", "c.test", "x.b.test", "*.b.test", "*.c.test", ""}, now)
	for i, want := range []string{"not for c.test", "not for *.c.test", "ends at"} {
		if i >= len(got) || !strings.Contains(got[i], want) {
			t.Errorf("warnings %q, want %q", got, want)
		}
	}
	if got := Warnings(chain, []string{"a.test"}, now.Add(-30*24*time.Hour)); len(got) != 0 {
		t.Errorf("warnings %q, want none", got)
	}
}

// TestFolders: a circle of links ends, too.
func TestFolders(t *testing.T) {
	k := newKept(t)
	k.link("b", "a")
	k.link("a", "b")
	if got := folders(filepath.Join(k.dir, "a")); !slices.Equal(got, []string{k.dir}) {
		t.Errorf("folders of a circle: %v", got)
	}
	if got := folders(filepath.Join(k.dir, "missing/x/y")); !slices.Equal(got, []string{k.dir}) {
		t.Errorf("folders of what is missing: %v", got)
	}
}
