package app

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/certtest"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
)

// handed is an ambassador that remembers what certificates it was handed.
type handed struct {
	mu     sync.Mutex
	puts   [][]traffic.Certificate
	err    error
	events []status.Event
	more   chan struct{}
}

func (h *handed) put(_ context.Context, list []traffic.Certificate) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return h.err
	}
	h.puts = append(h.puts, list)
	h.tell()
	return nil
}

func (h *handed) record(e status.Event) status.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
	h.tell()
	return e
}

func (h *handed) tell() {
	select {
	case h.more <- struct{}{}:
	default:
	}
}

func (h *handed) await(t *testing.T, what string, ok func(puts [][]traffic.Certificate, events []status.Event) bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		h.mu.Lock()
		good := ok(h.puts, h.events)
		h.mu.Unlock()
		if good {
			return
		}
		select {
		case <-h.more:
		case <-deadline:
			t.Fatalf("waited for %s: %d puts, events %+v", what, len(h.puts), h.events)
		}
	}
}

func newJoined(t *testing.T) (*certificates, *handed) {
	t.Helper()
	c, err := newCertificates(manifests.Host{Name: "web-1", State: t.TempDir()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	h := &handed{more: make(chan struct{}, 1)}
	c.put, c.record = h.put, h.record
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		if err := c.close(); err != nil {
			t.Error(err)
		}
	})
	return c, h
}

func writePair(t *testing.T, dir string, p certtest.Pair) string {
	t.Helper()
	for name, data := range map[string][]byte{"crt": p.Cert, "key": p.Key} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return traffic.CertificateSource{Cert: filepath.Join(dir, "crt"), Key: filepath.Join(dir, "key")}.Name()
}

// tableOf is a table that ends TLS for a name with each certificate.
func tableOf(certs ...string) *traffic.Table {
	l := traffic.Listener{ListenerKey: traffic.ListenerKey{Port: 443}, Protocol: traffic.TLS}
	for i, c := range certs {
		host := string(rune('a'+i)) + ".test"
		l.TLS = append(l.TLS, traffic.ServerName{Name: host, Certificate: c})
		l.Routes = append(l.Routes, traffic.Route{Host: host, Service: "production/shop/web", Port: 1})
	}
	return &traffic.Table{Listeners: []traffic.Listener{l}}
}

func namesOf(list []traffic.Certificate) []string {
	var out []string
	for _, c := range list {
		out = append(out, c.Name)
	}
	return out
}

// TestCertificatesGoBeforeTheTable: a certificate is read when the table is made,
// handed over before it, and taken back only after one that does not name it.
func TestCertificatesGoBeforeTheTable(t *testing.T) {
	ca := certtest.New(t)
	one, two := writePair(t, t.TempDir(), ca.Issue(t, "a.test")), writePair(t, t.TempDir(), ca.Issue(t, "b.test"))
	c, h := newJoined(t)
	if !c.Ready(one) || c.Ready("files:/no/such,/file") {
		t.Error("a certificate that is there is not ready, or one that is not, is")
	}
	c.want(tableOf(one, two))
	if err := c.push(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.await(t, "both", func(puts [][]traffic.Certificate, _ []status.Event) bool {
		return len(puts) > 0 && slices.Equal(namesOf(puts[len(puts)-1]), sorted(one, two))
	})
	if err := c.push(t.Context()); err != nil || len(h.puts) != 1 {
		t.Errorf("the same again was put: %d puts, %v", len(h.puts), err)
	}
	c.wantOnly(tableOf(one, two)) // it is in force
	c.want(tableOf(two))          // the next one is to be
	if err := c.push(t.Context()); err != nil || !slices.Equal(namesOf(c.list()), sorted(one, two)) {
		t.Errorf("before the next table is in force: %v, %v", namesOf(c.list()), err)
	}
	c.wantOnly(tableOf(two))
	h.await(t, "the first to be taken back", func(puts [][]traffic.Certificate, _ []status.Event) bool {
		return slices.Equal(namesOf(puts[len(puts)-1]), []string{two})
	})
	n := len(h.puts)
	c.distrust()
	h.await(t, "all again for an ambassador that began anew", func(puts [][]traffic.Certificate, _ []status.Event) bool { return len(puts) > n })
}

func sorted(names ...string) []string {
	slices.Sort(names)
	return names
}

// TestCertificatesTell: what is wrong with a file is an event of its app and a
// trouble, the former certificate is still handed over, and the end of it is
// told, too. An ambassador that does not answer gets everything later.
func TestCertificatesTell(t *testing.T) {
	ca, dir := certtest.New(t), t.TempDir()
	name := writePair(t, dir, ca.Issue(t, "a.test"))
	c, h := newJoined(t)
	h.err = errors.New("not there")
	c.want(tableOf(name))
	if err := c.push(t.Context()); err == nil {
		t.Error("a push to nobody succeeded")
	}
	c.wake()
	h.mu.Lock()
	h.err = nil
	h.mu.Unlock()
	h.await(t, "it later", func(puts [][]traffic.Certificate, _ []status.Event) bool { return len(puts) == 1 })
	if err := os.WriteFile(filepath.Join(dir, "crt"), []byte("oops"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.await(t, "an event", func(_ [][]traffic.Certificate, events []status.Event) bool {
		return len(events) == 1 && events[0].Reason == status.CertificateFailed && events[0].App == "shop" && events[0].Environment == "production" &&
			events[0].Service == "web" && strings.Contains(events[0].Message, "no pair") && strings.Contains(events[0].Message, "the former one stays in force")
	})
	<-c.Changes()
	if c.Trouble(name) == "" || len(c.list()) != 1 {
		t.Errorf("trouble %q with %d certificates", c.Trouble(name), len(c.list()))
	}
	writePair(t, dir, ca.Issue(t, "other.test"))
	h.await(t, "the end of it", func(puts [][]traffic.Certificate, events []status.Event) bool {
		return len(events) == 2 && events[1].Reason == status.Succeeded && len(puts) == 2
	})
	if w := c.Warnings(name); len(w) != 2 || !strings.Contains(w[0], "is not for a.test") || !strings.Contains(w[1], "ends at") {
		t.Errorf("warnings %q", w)
	}
}

// TestCertificatesMissing: a certificate that is not there when its table is made
// is told at once.
func TestCertificatesMissing(t *testing.T) {
	c, h := newJoined(t)
	name := traffic.CertificateSource{Cert: "/no/such.crt", Key: "/no/such.key"}.Name()
	c.want(tableOf(name))
	h.await(t, "an event", func(_ [][]traffic.Certificate, events []status.Event) bool {
		return len(events) == 1 && strings.Contains(events[0].Message, "its clients are refused until there is one")
	})
	if len(h.puts) != 0 {
		t.Errorf("%d puts of nothing", len(h.puts))
	}
}
