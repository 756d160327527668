package acme_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/acme"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(otherHost); dir != "" {
		os.Exit(playOther(dir))
	}
	goleak.VerifyTestMain(m,
		// The limit of requests to one directory is the process's, and never ends.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"),
		// It looks every five seconds whether a lock is still held.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
		// Connections to the directory stay open for the next call.
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("net/http.(*http2clientConnReadLoop).run"), goleak.IgnoreAnyFunction("internal/poll.(*FD).Read"),
	)
}

// kept is a keeper with an authority that looks for answers right at its ports.
type kept struct {
	*acme.Keeper
	t       *testing.T
	ca      *rig.Pebble
	opt     acme.Options
	changed chan string
}

func newKept(t *testing.T, options rig.PebbleOptions, change func(*acme.Options)) *kept {
	t.Helper()
	k := &kept{t: t, ca: rig.NewPebble(t, options), changed: make(chan string, 1000)}
	k.opt = acme.Options{
		Dir: t.TempDir(), Directory: k.ca.Directory(), CAFile: k.ca.CAFile(), HTTP: true, ALPN: true,
		Log: slog.New(slog.DiscardHandler), Changed: func(host string) { k.changed <- host }, FirstRetry: time.Second, Check: time.Second,
	}
	change(&k.opt)
	k.open()
	return k
}

func (k *kept) open() {
	k.t.Helper()
	keeper, err := acme.New(k.opt)
	if err != nil {
		k.t.Fatal(err)
	}
	k.Keeper = keeper
	k.t.Cleanup(func() {
		if err := keeper.Close(); err != nil {
			k.t.Error(err)
		}
	})
}

func (k *kept) start() {
	k.t.Helper()
	h, a := k.Ports()
	k.ca.Start(k.t, int(h), int(a))
}

// await waits until a name stands as ok says.
func (k *kept) await(host, what string, ok func(acme.State) bool) acme.State {
	k.t.Helper()
	deadline := time.After(60 * time.Second)
	for {
		s := k.State(host)
		if ok(s) {
			return s
		}
		select {
		case <-k.changed:
		case <-deadline:
			k.t.Fatalf("waited for %s to be %s; it is %q\n%s", host, what, s.Trouble, k.ca.Output(k.t))
		}
	}
}

func had(s acme.State) bool { return s.Chain != nil }

func leaf(t *testing.T, s acme.State) *x509.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(s.Chain, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

// TestChallenges: a certificate is had by either challenge alone, lies on disk
// for nobody else to read, and is there at once for the next keeper, also while
// the authority is away.
func TestChallenges(t *testing.T) {
	for name, change := range map[string]func(*acme.Options){
		"http_01":     func(o *acme.Options) { o.ALPN = false },
		"tls_alpn_01": func(o *acme.Options) { o.HTTP = false },
	} {
		t.Run(name, func(t *testing.T) {
			k := newKept(t, rig.PebbleOptions{}, change)
			k.start()
			k.Keep([]string{"shop.test"})
			k.Begin()
			s := k.await("shop.test", "had", had)
			if err := leaf(t, s).VerifyHostname("shop.test"); err != nil || s.Trouble != "" {
				t.Errorf("%v; trouble %q", err, s.Trouble)
			}
			onlyMine(t, k.opt.Dir)
			if err := k.Close(); err != nil {
				t.Fatal(err)
			}
			k.ca.Stop(t)
			k.open()
			k.Keep([]string{"shop.test"})
			k.Begin()
			if again := k.State("shop.test"); string(again.Chain) != string(s.Chain) || string(again.Key) != string(s.Key) {
				t.Error("the certificate on disk was not there at once")
			}
			k.Keep(nil)
			if again := k.State("shop.test"); had(again) {
				t.Error("a name that is not kept has a certificate")
			}
		})
	}
}

func onlyMine(t *testing.T, dir string) {
	t.Helper()
	keys := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".key") {
			return err
		}
		keys++
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil || keys < 2 {
		t.Errorf("%d keys on disk, %v; want the account's and the certificate's", keys, err)
	}
}

// TestRenewal: a certificate is renewed before it ends.
func TestRenewal(t *testing.T) {
	k := newKept(t, rig.PebbleOptions{Validity: 20 * time.Second}, func(*acme.Options) {})
	k.start()
	k.Keep([]string{"shop.test"})
	k.Begin()
	first := leaf(t, k.await("shop.test", "had", had))
	next := leaf(t, k.await("shop.test", "renewed", func(s acme.State) bool { return had(s) && string(leaf(t, s).Raw) != string(first.Raw) }))
	if !next.NotAfter.After(first.NotAfter) || time.Now().After(first.NotAfter) {
		t.Errorf("renewed at %s from the end at %s to %s", time.Now(), first.NotAfter, next.NotAfter)
	}
}

// TestFailureIsOneNames: a name that the authority refuses, and an authority
// that is away, are told with their reason and hold up nobody else.
func TestFailureIsOneNames(t *testing.T) {
	k := newKept(t, rig.PebbleOptions{}, func(*acme.Options) {})
	k.Keep([]string{"early.test"})
	k.Begin()
	s := k.await("early.test", "in trouble", func(s acme.State) bool { return s.Trouble != "" })
	if !strings.Contains(s.Trouble, "connection refused") || strings.Contains(s.Trouble, "early.test: obtaining") {
		t.Errorf("trouble while the authority is away: %q", s.Trouble)
	}
	k.start()
	k.Keep([]string{"early.test", "not a name", "shop.test"})
	k.Begin()
	k.await("shop.test", "had", had)
	k.await("early.test", "had after a while", func(s acme.State) bool { return had(s) && s.Trouble == "" })
	s = k.await("not a name", "in trouble", func(s acme.State) bool { return s.Trouble != "" && !s.Next.IsZero() })
	if had(s) || s.Since.IsZero() {
		t.Errorf("the refused name: %+v", s)
	}
}

// otherHost is the variable by which this program plays another host's agent,
// with the folder that it shares.
const otherHost = "ACME_TEST_OTHER_HOST"

// playOther is a keeper in a process of its own: it says its ports, and ends with
// its input.
func playOther(dir string) int {
	k, err := acme.New(acme.Options{
		Dir: dir, Directory: os.Getenv("ACME_TEST_DIRECTORY"), HTTP: true, ALPN: true,
		Log: slog.New(slog.DiscardHandler), Changed: func(string) {},
	})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	h, a := k.Ports()
	fmt.Println(h, a)
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := k.Close(); err != nil {
		return 1
	}
	return 0
}

// TestSharedFolder: of two hosts with one folder, each answers the challenges of
// the other's certificates, and both have the same one.
func TestSharedFolder(t *testing.T) {
	for name, change := range map[string]func(*acme.Options){
		"http_01":     func(o *acme.Options) { o.ALPN = false },
		"tls_alpn_01": func(o *acme.Options) { o.HTTP = false },
	} {
		t.Run(name, func(t *testing.T) {
			a := newKept(t, rig.PebbleOptions{}, change)
			h, alpn := startOther(t, a)
			a.ca.Start(t, h, alpn) // the authority comes to the other host alone
			a.Keep([]string{"shop.test"})
			a.Begin()
			first := a.await("shop.test", "had", had)
			b := &kept{t: t, ca: a.ca, opt: a.opt, changed: make(chan string, 1000)}
			b.opt.Changed = func(host string) { b.changed <- host }
			b.open()
			b.Keep([]string{"shop.test"})
			b.Begin()
			if s := b.State("shop.test"); string(s.Chain) != string(first.Chain) {
				t.Error("another host does not have the first one's certificate")
			}
		})
	}
}

// startOther starts another host's keeper and returns its ports.
func startOther(t *testing.T, k *kept) (http, alpn int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), otherHost+"="+k.opt.Dir, "ACME_TEST_DIRECTORY="+k.opt.Directory)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the other host: %v", err)
		}
	})
	if _, err := fmt.Fscan(out, &http, &alpn); err != nil {
		t.Fatalf("the other host's ports: %v", err)
	}
	return http, alpn
}

func TestNoAnswerWithoutChallenge(t *testing.T) {
	k := newKept(t, rig.PebbleOptions{}, func(*acme.Options) {})
	port, _ := k.Ports()
	resp, err := http.Get("http://127.0.0.1:" + strconv.Itoa(int(port)) + "/.well-known/acme-challenge/x")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("a token that nobody asked for got %s", resp.Status)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestNewRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, opt := range map[string]acme.Options{
		"no_challenge": {}, "no_file": {HTTP: true, CAFile: file + "x"}, "no_certificate": {HTTP: true, CAFile: file},
	} {
		opt.Log = slog.New(slog.DiscardHandler)
		if k, err := acme.New(opt); err == nil {
			t.Errorf("%s: made %v", name, k)
		}
	}
}
