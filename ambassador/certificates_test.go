package ambassador

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/remorahq/remora/ambassador/control"
	"github.com/remorahq/remora/e2e/certtest"
	"github.com/remorahq/remora/internal/traffic"
)

func TestControlCertificates(t *testing.T) {
	r, c := controlled(t)
	ca := certtest.New(t)
	p := ca.Issue(t, "a.test", "127.0.0.1")
	list := []traffic.Certificate{pair("a", p), {Name: "ca", Chain: ca.PEM()}, {Name: "broken", Chain: []byte("x"), Key: []byte("y")}}
	if err := c.PutCertificates(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	got, err := c.Certificates(t.Context())
	if err != nil || len(got) != 3 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if got[0].Name != "a" || strings.Join(got[0].Subjects, " ") != "a.test 127.0.0.1" || !got[0].NotAfter.Equal(p.Leaf.NotAfter) {
		t.Errorf("a: %+v", got[0])
	}
	if got[1].Name != "broken" || got[1].Error == "" || got[2].Name != "ca" || !got[2].Authorities {
		t.Errorf("the others: %+v", got[1:])
	}
	text, err := json.Marshal(got)
	if err != nil || strings.Contains(string(text), "PRIVATE") || strings.Contains(string(text), "BEGIN") {
		t.Errorf("the list tells more than it may: %s, %v", text, err)
	}
	metrics, err := c.Metrics(t.Context())
	if err != nil || !strings.Contains(string(metrics), `remora_ambassador_certificate_expiry_seconds{certificate="a"}`) {
		t.Errorf("metrics: %v\n%s", err, metrics)
	}
	r.wk.Drain()
	if err := r.wk.PutCertificates(t.Context(), &traffic.Certificates{Version: traffic.CertificatesVersion}); !errors.Is(err, control.ErrNotLeading) {
		t.Errorf("a draining worker took certificates: %v", err)
	}
}

func TestControlCertificatesNotPersisted(t *testing.T) {
	r, c := controlled(t)
	if err := os.RemoveAll(r.dir); err != nil {
		t.Fatal(err)
	}
	list := []traffic.Certificate{pair("a", certtest.New(t).Issue(t, "a.test"))}
	if err := c.PutCertificates(t.Context(), list); !errors.Is(err, control.ErrNotPersisted) {
		t.Errorf("got %v, want ErrNotPersisted", err)
	}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := c.PutCertificates(t.Context(), list); err != nil {
		t.Errorf("the same again, with the folder back: %v", err)
	}
	if _, err := r.wk.secure.loadCertificates(); err != nil || len(r.wk.Certificates()) != 1 {
		t.Errorf("on disk: %v", err)
	}
}
