package ambassador

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"time"

	"golang.org/x/net/http2"

	"github.com/remorahq/remora/ambassador/http1"
	"github.com/remorahq/remora/ambassador/page"
	"github.com/remorahq/remora/ambassador/sni"
)

// handshakeLimit is how long a client may take from its connection to the end
// of the handshake.
const handshakeLimit = 10 * time.Second

// Alerts (RFC 8446 §6.2) that are sent before TLS has begun.
const (
	alertDecodeError      = 50
	alertUnrecognizedName = 112
)

// serveTLS reads the ClientHello and does what is said of its server name.
func (k *conn) serveTLS() {
	_ = k.c.SetDeadline(time.Now().Add(handshakeLimit))
	hello, err := sni.Peek(k.c)
	if err != nil {
		k.noHello(hello, err)
		return
	}
	lv := k.wk.view.Load().listeners[k.key]
	if lv == nil || lv.names == nil {
		return
	}
	n := lv.names.find([]byte(hello.ServerName), hello.ALPN)
	switch {
	case n == nil:
		k.wk.handshakeFailures.Add(1)
		k.wk.log.Debug("tls: refused", "port", k.key.Port, "name", hello.ServerName, "why", "no route has the name")
		k.alert(alertUnrecognizedName)
	case n.spec.Certificate == "":
		k.passTLS(&hello)
	default:
		k.endTLS(n, hello)
	}
}

// noHello ends a connection that did not begin with a ClientHello. One who
// speaks HTTP is told.
func (k *conn) noHello(hello sni.Hello, err error) {
	k.wk.log.Debug("tls: no ClientHello", "port", k.key.Port, "err", err)
	switch {
	case errors.Is(err, sni.ErrNotTLS) && http1.Detect(hello.Raw) == http1.RequestLine:
		k.turnAway(refuse(page.PlainOnTLS))
	case errors.Is(err, sni.ErrMalformed), errors.Is(err, sni.ErrTooLong):
		k.alert(alertDecodeError)
	}
}

// alert refuses a client before a key is agreed on.
func (k *conn) alert(description byte) {
	const alert, version, fatal = 21, 3, 2
	_ = k.write([]byte{alert, version, 3, 0, 2, fatal, description})
	k.linger()
}

// endTLS ends TLS and serves what is in it.
func (k *conn) endTLS(n *serverName, hello sni.Hello) {
	cfg, err := k.wk.secure.configure(n)
	if err != nil {
		k.wk.log.Debug("tls: refused", "port", k.key.Port, "name", hello.ServerName, "err", err)
		k.alert(alertUnrecognizedName)
		return
	}
	c := tls.Server(&replayed{k.c, hello.Raw}, cfg)
	if err := c.HandshakeContext(context.Background()); err != nil { // the socket has a deadline
		k.wk.handshakeFailures.Add(1)
		k.wk.log.Debug("tls: handshake", "port", k.key.Port, "name", hello.ServerName, "err", err)
		k.linger()
		return
	}
	_ = k.c.SetDeadline(time.Time{})
	k.readBy, k.writeBy = time.Time{}, time.Time{}
	k.tlsVersion = strings.TrimPrefix(tls.VersionName(c.ConnectionState().Version), "TLS ")
	k.wk.handshakes.Add(1)
	k.tls, k.secure, k.serverName, k.authority = c, true, hello.ServerName, n.spec.ClientCA
	if c.ConnectionState().NegotiatedProtocol == http2.NextProtoTLS {
		k.serveH2()
		return
	}
	k.serveHTTP()
}

// replayed is a socket of which the first bytes were read already.
type replayed struct {
	*net.TCPConn
	read []byte
}

// Read returns the bytes that were read first.
func (r *replayed) Read(b []byte) (int, error) {
	if len(r.read) == 0 {
		r.read = nil
		return r.TCPConn.Read(b)
	}
	n := copy(b, r.read)
	r.read = r.read[n:]
	return n, nil
}
