package ambassador

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// ask sends one GET with an Accept field and returns the answer.
func ask(t *testing.T, port uint16, host, path, accept string) (*http.Response, string) {
	t.Helper()
	c := connect(t, port)
	fmt.Fprintf(c.c, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\n\r\n", path, host, accept)
	res, err := http.ReadResponse(c.br, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// TestMaintenance: visitors read the notice and when to come back, in the form
// that they accept; what is in flight finishes.
func TestMaintenance(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := startBackend(t, "v1")
	tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b))
	r.put(tb)
	flying := connect(t, port)
	fmt.Fprint(flying.c, get("/slow"))
	<-b.began
	tb = table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b))
	tb.Services[0].Maintenance, tb.Services[0].Notice = true, "Back at <noon>."
	tb.Services[0].MaintenanceUntil = time.Now().Add(10 * time.Minute)
	r.put(tb)
	res, body := ask(t, port, "shop.example.com", "/cart?key=1", "text/html")
	if res.StatusCode != 503 || res.Header.Get("Remora-Reason") != "maintenance" || !strings.Contains(body, "Back at &lt;noon&gt;.") ||
		!strings.Contains(body, "remora explain http://shop.example.com/cart<") {
		t.Errorf("%d %v %s", res.StatusCode, res.Header, body)
	}
	if after := res.Header.Get("Retry-After"); after != "600" {
		t.Errorf("Retry-After %q", after)
	}
	if at, err := http.ParseTime(res.Header.Get("Date")); err != nil || time.Since(at) > time.Minute {
		t.Errorf("Date: %v, %v", at, err)
	}
	res, body = ask(t, port, "shop.example.com", "/api", "application/json")
	var problem struct {
		Status         int
		Reason, Notice string
	}
	if err := json.Unmarshal([]byte(body), &problem); err != nil || problem.Status != 503 || problem.Reason != "maintenance" || problem.Notice != "Back at <noon>." {
		t.Errorf("%v %v %s", err, res.Header, body)
	}
	close(b.slow)
	if status, got, err := flying.response("GET"); status != 200 || got != "v1 slow" {
		t.Errorf("in flight: %d %q %v", status, got, err)
	}
	tb.Services[0].Maintenance = false
	r.put(tb)
	connect(t, port).want("GET", get("/"), 200, "v1")
}

// TestRefusalsTellNothingInternal: no address, container or release is in what
// strangers read.
func TestRefusalsTellNothingInternal(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	gone := dead("container-one")
	tb := table(port, traffic.HTTP, "release-seven", rel("release-seven", traffic.Active, gone))
	tb.Listeners[0].Routes[0].Host = "shop.example.com"
	r.put(tb)
	for host, want := range map[string]int{"shop.example.com": 502, "other.example.com": 404} {
		for _, accept := range []string{"*/*", "text/html", "application/json"} {
			res, body := ask(t, port, host, "/", accept)
			if res.StatusCode != want || res.Header.Get("Remora-Reason") == "" {
				t.Errorf("%s: %d %v", host, res.StatusCode, res.Header)
			}
			all := body + fmt.Sprint(res.Header)
			for _, secret := range []string{"container-one", "release-seven", gone.addr.String(), "env/app"} {
				if strings.Contains(all, secret) {
					t.Errorf("%s %s tells %q: %s", host, accept, secret, all)
				}
			}
		}
	}
}
