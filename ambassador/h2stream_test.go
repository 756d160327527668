package ambassador

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

func TestH2Interim(t *testing.T) {
	for name, up := range map[string]traffic.Upstream{"http1": traffic.UpstreamHTTP1, "h2c": traffic.UpstreamH2C} {
		t.Run(name, func(t *testing.T) {
			h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Link", "</a.css>")
				w.WriteHeader(103)
				w.Header().Del("Link")
				w.Header().Set("X-Final", "1")
				fmt.Fprint(w, "done")
			})
			var a *backend
			if up == traffic.UpstreamH2C {
				a = startH2Backend(t, "v1", h, nil)
			} else {
				a = startPlain(t, "v1", h)
			}
			r := newRig(t)
			port := freePort(t)
			r.put(viaUpstream(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a)), up))
			c := connectH2(t, port)
			var got []int
			req := c.request("GET", "/", nil)
			req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
				Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
					if h.Get("Link") != "" {
						got = append(got, code)
					}
					return nil
				},
			}))
			res, body, err := c.do(req)
			if err != nil || body != "done" || res.Header.Get("X-Final") != "1" || res.Header.Get("Link") != "" || len(got) != 1 {
				t.Errorf("got %v %q %v, hints %v", res, body, err, got)
			}
		})
	}
}

// Both directions of a stream go on at once, whatever the container speaks.
func TestH2Bidirectional(t *testing.T) {
	for name, up := range map[string]traffic.Upstream{"http1": traffic.UpstreamHTTP1, "h2c": traffic.UpstreamH2C} {
		t.Run(name, func(t *testing.T) {
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				rc := http.NewResponseController(w)
				_ = rc.EnableFullDuplex()
				_ = rc.Flush()
				buf := make([]byte, 100)
				for {
					n, err := r.Body.Read(buf)
					_, _ = w.Write(bytes.ToUpper(buf[:n]))
					_ = rc.Flush()
					if err != nil {
						return
					}
				}
			})
			var a *backend
			if up == traffic.UpstreamH2C {
				a = startH2Backend(t, "v1", h, nil)
			} else {
				a = startPlain(t, "v1", h)
			}
			r := newRig(t)
			port := freePort(t)
			r.put(viaUpstream(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a)), up))
			c := connectH2(t, port)
			pr, pw := io.Pipe()
			res, err := c.cc.RoundTrip(c.request("POST", "/", pr))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			for _, word := range []string{"one", "two", strings.Repeat("x", 300_000)} {
				go func() { _, _ = io.WriteString(pw, word) }()
				got := make([]byte, len(word))
				if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != strings.ToUpper(word) {
					t.Fatalf("got %.20q, %v", got, err)
				}
			}
			_ = pw.Close()
			if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
				t.Errorf("the end: %q, %v", rest, err)
			}
		})
	}
}

// Trailers go both ways between any two versions, but for those that would
// change what the message means.
func TestTrailersBetweenVersions(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, "body")
		w.Header().Set("X-Sum", "got "+r.Trailer.Get("X-Sum"))
		w.Header().Set(http.TrailerPrefix+"Set-Cookie", "a=b")
	})
	for name, up := range map[string]traffic.Upstream{"http1": traffic.UpstreamHTTP1, "h2c": traffic.UpstreamH2C} {
		t.Run(name, func(t *testing.T) {
			var a *backend
			if up == traffic.UpstreamH2C {
				a = startH2Backend(t, "v1", h, nil)
			} else {
				a = startPlain(t, "v1", h)
			}
			r := newRig(t)
			port := freePort(t)
			r.put(viaUpstream(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a)), up))
			two := connectH2(t, port)
			req := two.request("POST", "/", struct{ io.Reader }{strings.NewReader("abc")})
			req.Trailer = http.Header{"X-Sum": {"7"}}
			res, body, err := two.do(req)
			if err != nil || body != "body" || res.Trailer.Get("X-Sum") != "got 7" {
				t.Errorf("HTTP/2: %q, %v, trailers %v", body, err, res.Trailer)
			}
			one := connect(t, port)
			fmt.Fprint(one.c, "POST / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n")
			_ = one.c.SetDeadline(time.Now().Add(10 * time.Second))
			plain, err := http.ReadResponse(one.br, &http.Request{Method: "POST"})
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(plain.Body)
			if err != nil || string(b) != "body" || plain.Trailer.Get("X-Sum") != "got 7" || plain.Trailer.Get("Set-Cookie") != "" {
				t.Errorf("HTTP/1.1: %q, %v, trailers %v", b, err, plain.Trailer)
			}
		})
	}
}

// A request that is held while its route changes goes by the new one.
func TestHeldRequestFollowsItsRoute(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a, b := startBackend(t, "v1"), startH2Backend(t, "v2", says("v2"), nil)
	held := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a))
	held.Services[0].Hold = true
	r.put(held)
	c := connect(t, port)
	fmt.Fprint(c.c, get("/x"))
	r.await("the request to be held", func(rep traffic.Report) bool { return rep.Services[0].Held == 1 })
	r.put(viaUpstream(table(port, traffic.HTTP, "v2", rel("v2", traffic.Active, b), rel("v1", traffic.Draining, a)), traffic.UpstreamH2C))
	_ = c.c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if status, body, err := c.response("GET"); status != 200 || !strings.HasPrefix(body, "v2 HTTP/2.0 GET /x") {
		t.Errorf("got %d %q, %v", status, body, err)
	}
	r.await("the former release to be drained", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].Drained })
}
