package ambassador

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/remorahq/remora/e2e/certtest"
	"github.com/remorahq/remora/internal/traffic"
)

// TestConnOverTLS serves requests of one TLS connection: two in one record,
// one after a pause, and the connection's clean end.
func TestConnOverTLS(t *testing.T) {
	b := startBackend(t, "b")
	r := newRig(t)
	port := freePort(t)
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b)))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		key := traffic.ListenerKey{Address: r.wk.Table().Listeners[0].Address, Port: port}
		k, err := r.wk.newConn(c.(*net.TCPConn), key, traffic.HTTP)
		if err != nil {
			return
		}
		k.tls = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certtest.New(t).Issue(t, "x").TLS(t)}})
		k.secure, k.serverName = true, "x"
		if k.tls.Handshake() == nil {
			k.serve()
		}
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, ServerName: "x"})
	if err != nil {
		t.Fatal(err)
	}
	cl := &client{t: t, c: c, br: bufio.NewReader(c)}
	if _, err := io.WriteString(c, get("/headers")+get("/")); err != nil {
		t.Fatal(err)
	}
	_, fields, err := cl.response(http.MethodGet)
	if err != nil || !strings.Contains(fields, "X-Forwarded-Proto: https") || !strings.Contains(fields, ";proto=https") {
		t.Errorf("the instance got %q, %v", fields, err)
	}
	if s, body, err := cl.response(http.MethodGet); s != 200 || body != "b 0" || err != nil {
		t.Errorf("second of a record: %d %q, %v", s, body, err)
	}
	cl.want(http.MethodPost, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 200, "b 3")
	cl.want(http.MethodGet, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, "b 0")
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("the end: %d bytes, %v; want a clean one", n, err)
	}
	_ = c.Close()
	<-done
}
