package ambassador

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/remorahq/remora/internal/traffic"
)

// h2client is a client of HTTP/2 with prior knowledge, on one connection that
// it never replaces.
type h2client struct {
	t    testing.TB
	c    net.Conn
	cc   *http2.ClientConn
	port uint16
}

func connectH2(t testing.TB, port uint16) *h2client {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	return newH2client(t, c, port)
}

func newH2client(t testing.TB, c net.Conn, port uint16) *h2client {
	t.Helper()
	tr := &http2.Transport{AllowHTTP: true, DisableCompression: true}
	cc, err := tr.NewClientConn(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return &h2client{t: t, c: c, cc: cc, port: port}
}

func (c *h2client) request(method, path string, body io.Reader) *http.Request {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, fmt.Sprintf("http://127.0.0.1:%d%s", c.port, path), body)
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// do sends one request and reads its answer; nothing is retried.
func (c *h2client) do(r *http.Request) (*http.Response, string, error) {
	res, err := c.cc.RoundTrip(r)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res, string(b), err
}

func (c *h2client) want(method, path, body string, status int, prefix string) {
	c.t.Helper()
	var rd io.Reader
	if body != "" {
		rd = strings.NewReader(body)
	}
	res, got, err := c.do(c.request(method, path, rd))
	if err != nil || res.StatusCode != status || !strings.HasPrefix(got, prefix) {
		c.t.Fatalf("%s %s: got %v %q, %v; want %d %q…", method, path, res, got, err, status, prefix)
	}
}

// startH2Backend is a backend that speaks HTTP/2 only, with prior knowledge, or
// over TLS by ALPN when cert is given.
func startH2Backend(t *testing.T, name string, h http.Handler, cert *tls.Certificate, protocols ...string) *backend {
	t.Helper()
	b := &backend{name: name, addr: freeAddress()}
	srv := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }
	srv.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			b.conns.Add(1)
		}
	}
	b.srv = srv
	srv.Protocols = new(http.Protocols)
	l, err := net.Listen("tcp", netip.AddrPortFrom(b.addr, backendPort).String())
	if err != nil {
		t.Fatal(err)
	}
	if cert != nil {
		for _, p := range protocols {
			srv.Protocols.SetHTTP1(srv.Protocols.HTTP1() || p == "http/1.1")
			srv.Protocols.SetHTTP2(srv.Protocols.HTTP2() || p == "h2")
		}
		srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*cert}}
	} else {
		srv.Protocols.SetUnencryptedHTTP2(true)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if cert != nil {
			_ = srv.ServeTLS(l, "", "")
		} else {
			_ = srv.Serve(l)
		}
	}()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return b
}

func viaUpstream(tb *traffic.Table, up traffic.Upstream) *traffic.Table {
	tb.Listeners[0].Routes[0].Upstream = up
	return tb
}

// says answers with the backend's name, the protocol and what it got.
func says(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprintf(w, "%s %s %s %s %d %s", name, r.Proto, r.Method, r.RequestURI, len(b), r.Header.Get("X-Forwarded-For"))
	})
}
