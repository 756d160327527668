package ambassador

import (
	"io"
	"strings"
	"testing"

	"github.com/remorahq/remora/e2e/certtest"
	"github.com/remorahq/remora/internal/traffic"
)

// Clients of HTTP/2 with prior knowledge are served request by request, and a
// switch neither closes their connection nor sends a GOAWAY (P4).
func TestH2ClientsOfHTTP1Container(t *testing.T) {
	for _, protocol := range []traffic.Protocol{traffic.HTTP, traffic.Detect} {
		t.Run(string(protocol), func(t *testing.T) {
			r := newRig(t)
			port := freePort(t)
			a, b := startBackend(t, "v1"), startBackend(t, "v2")
			r.put(table(port, protocol, "v1", rel("v1", traffic.Active, a)))
			c := connectH2(t, port)
			c.want("GET", "/", "", 200, "v1 0")
			c.want("POST", "/", "abc", 200, "v1 3")
			c.want("POST", "/", strings.Repeat("x", 1<<20), 200, "v1 1048576")
			c.want("GET", "/500", "", 500, "")
			res, body, err := c.do(c.request("POST", "/", struct{ io.Reader }{strings.NewReader("streamed")}))
			if err != nil || res.StatusCode != 200 || body != "v1 8" {
				t.Fatalf("body of unknown length: %v %q %v", res, body, err)
			}
			r.put(table(port, protocol, "v2", rel("v2", traffic.Active, b), rel("v1", traffic.Draining, a)))
			c.want("GET", "/", "", 200, "v2 0")
			if st := c.cc.State(); st.Closing || st.Closed {
				t.Errorf("the switch ended the client's connection: %+v", st)
			}
			r.await("the former release to be drained", func(rep traffic.Report) bool {
				return rep.Services[0].Releases[1].Drained
			})
		})
	}
}

func TestH2ForwardingFields(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, startBackend(t, "v1"))))
	c := connectH2(t, port)
	req := c.request("GET", "/headers", nil)
	req.Host = "shop.example.com"
	req.Header.Set("X-Forwarded-For", "192.0.2.9")
	req.Header.Set("X_Secret", "1")
	req.Header.Set("X-Own", "1")
	req.Header.Set("Te", "trailers")
	res, body, err := c.do(req)
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	for _, want := range []string{"X-Forwarded-For: 127.0.0.1\r\n", "X-Forwarded-Proto: http\r\n", "X-Forwarded-Host: shop.example.com\r\n", "X-Own: 1\r\n"} {
		if !strings.Contains(body, want) {
			t.Errorf("the instance did not get %q: %q", want, body)
		}
	}
	for _, not := range []string{"Secret", "192.0.2.9"} {
		if strings.Contains(body, not) {
			t.Errorf("the instance got %q: %q", not, body)
		}
	}
}

// Every way of speaking to a container, from clients of both versions.
func TestUpstreamProtocols(t *testing.T) {
	cert := certtest.New(t).Issue(t, "x").TLS(t)
	for name, c := range map[string]struct {
		up        traffic.Upstream
		protocols []string
		proto     string
	}{
		"h2c":      {traffic.UpstreamH2C, nil, "HTTP/2.0"},
		"tls_h2":   {traffic.UpstreamTLS, []string{"h2", "http/1.1"}, "HTTP/2.0"},
		"tls_http": {traffic.UpstreamTLS, []string{"http/1.1"}, "HTTP/1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			start := func(name string) *backend {
				if c.protocols == nil {
					return startH2Backend(t, name, says(name), nil)
				}
				return startH2Backend(t, name, says(name), &cert, c.protocols...)
			}
			a, b := start("v1"), start("v2")
			r := newRig(t)
			port := freePort(t)
			r.put(viaUpstream(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a)), c.up))
			one, two := connect(t, port), connectH2(t, port)
			for i := range 3 {
				one.want("GET", get("/x?q=1"), 200, "v1 "+c.proto+" GET /x?q=1 0 127.0.0.1")
				one.want("POST", "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 200, "v1 "+c.proto+" POST /p 3 ")
				one.want("POST", "POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, "v1 "+c.proto+" POST /p 3 ")
				two.want("GET", "/x?q=1", "", 200, "v1 "+c.proto+" GET /x?q=1 0 127.0.0.1")
				two.want("POST", "/p", strings.Repeat("x", 200_000), 200, "v1 "+c.proto+" POST /p 200000")
				if i == 0 && c.proto == "HTTP/2.0" && a.conns.Load() != 1 {
					t.Errorf("%d connections to a container of HTTP/2, want 1", a.conns.Load())
				}
			}
			r.put(viaUpstream(table(port, traffic.HTTP, "v2", rel("v2", traffic.Active, b), rel("v1", traffic.Draining, a)), c.up))
			one.want("GET", get("/"), 200, "v2 "+c.proto)
			two.want("GET", "/", "", 200, "v2 "+c.proto)
		})
	}
}

// A detected port whose container speaks HTTP/2 only keeps working, now stream
// by stream.
func TestDetectedPortSpeaksHTTP2(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a, b := startH2Backend(t, "v1", says("v1"), nil), startH2Backend(t, "v2", says("v2"), nil)
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, a)))
	c := connectH2(t, port)
	c.want("GET", "/", "", 200, "v1 HTTP/2.0")
	r.put(table(port, traffic.Detect, "v2", rel("v2", traffic.Active, b), rel("v1", traffic.Draining, a)))
	c.want("GET", "/", "", 200, "v2 HTTP/2.0")
	r.await("the former release to be drained", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].Drained })
	// Of v1 there were the question what it speaks and one connection, which has
	// ended.
	poll(t, "v1's connection to end", func() bool {
		ep := endpointOf(r.wk, "v1")
		m := &ep.pool(backendPort).shared
		m.mu.Lock()
		defer m.mu.Unlock()
		m.forget()
		return len(m.conns) == 0
	})
}

func endpointOf(wk *Worker, release string) *endpoint {
	for _, sv := range wk.view.Load().services {
		for _, rv := range sv.releases {
			if rv.spec.Name == release {
				return rv.endpoints[0].ep
			}
		}
	}
	return nil
}
