package ambassador

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/remorahq/remora/ambassador/proxyproto"
	"github.com/remorahq/remora/e2e/certtest"
	"github.com/remorahq/remora/internal/traffic"
)

// believing is a table whose listener's peers at 127.0.0.1 tell who the client
// is.
func believing(port uint16, p traffic.Protocol, b *backend) *traffic.Table {
	t := table(port, p, "v1", rel("v1", traffic.Active, b))
	t.Listeners[0].ProxyFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	return t
}

func header(version int, source string) string {
	return string(proxyproto.Append(nil, version, netip.MustParseAddrPort(source), netip.MustParseAddrPort("198.51.100.7:443")))
}

// TestProxyHeaderIn: what a peer that is believed says of the client holds for
// requests and tunnels.
func TestProxyHeaderIn(t *testing.T) {
	web := startBackend(t, "v1")
	for _, version := range []int{1, 2} {
		r := newRig(t)
		port := freePort(t)
		r.put(believing(port, traffic.HTTP, web))
		c := connect(t, port)
		fmt.Fprint(c.c, header(version, "192.0.2.9:4711"))
		for range 2 { // of every request of the connection
			_, body, err := c.roundTrip("GET", get("/headers"))
			if err != nil || !strings.Contains(body, "X-Forwarded-For: 192.0.2.9\r\n") {
				t.Errorf("version %d: the backend got %q, %v", version, body, err)
			}
		}
		tunnelled := freePort(t)
		r.put(believing(tunnelled, traffic.TCP, echo(t, "v1")))
		c = connect(t, tunnelled)
		fmt.Fprint(c.c, header(version, "192.0.2.9:4711")+"hello\n")
		readUntil(t, c, "v1: hello\n")
	}
}

// TestProxyHeaderMissing: one who must send it and does not is reset; from
// others it is only bytes.
func TestProxyHeaderMissing(t *testing.T) {
	web := startBackend(t, "v1")
	r := newRig(t)
	port := freePort(t)
	r.put(believing(port, traffic.HTTP, web))
	c := connect(t, port)
	if _, _, err := c.roundTrip("GET", get("/")); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("without a header: %v, want a reset", err)
	}
	tb := believing(port, traffic.HTTP, web)
	tb.Listeners[0].ProxyFrom = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	r.put(tb)
	c = connect(t, port)
	if status, _, err := c.roundTrip("GET", header(1, "192.0.2.9:4711")+get("/")); status < 400 {
		t.Errorf("from a stranger: %d, %v; want a refusal", status, err)
	}
}

// introduced is a backend that reads a PROXY header and says what was in it.
func introduced(t *testing.T, name string) *backend {
	return script(t, name, func(_ int, c net.Conn, _ *bufio.Reader) {
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			return
		}
		h, err := proxyproto.Read(raw)
		fmt.Fprintf(c, "%s got v%d %s to %s %v\n", name, h.Version, h.Source, h.Destination, err)
		_, _ = io.Copy(c, c)
	})
}

// TestProxyHeaderOut: the container is told first who the client is, also one
// that speaks first and one on a port whose protocol is not written down.
func TestProxyHeaderOut(t *testing.T) {
	for _, p := range []traffic.Protocol{traffic.TCP, traffic.Detect} {
		for _, version := range []int{1, 2} {
			r := newRig(t)
			port := freePort(t)
			tb := table(port, p, "v1", rel("v1", traffic.Active, introduced(t, "v1")))
			tb.Listeners[0].Routes[0].ProxyProtocol = version
			r.put(tb)
			c := connect(t, port)
			readUntil(t, c, fmt.Sprintf("v1 got v%d %s to %s <nil>\n", version, c.c.LocalAddr(), c.c.RemoteAddr()))
			fmt.Fprint(c.c, "GET / HTTP/1.1\r\n")
			readUntil(t, c, "GET / HTTP/1.1\r\n")
			if n := r.wk.Report().Services[0].Releases[0].Tunnels; n != 1 {
				t.Errorf("%d tunnels, want 1", n)
			}
		}
	}
}

// TestProxyHeaderThrough: what one proxy told us is what the container hears.
func TestProxyHeaderThrough(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	tb := believing(port, traffic.TCP, introduced(t, "v1"))
	tb.Listeners[0].Routes[0].ProxyProtocol = 2
	r.put(tb)
	c := connect(t, port)
	fmt.Fprint(c.c, header(1, "[2001:db8::9]:4711"))
	readUntil(t, c, "v1 got v2 [2001:db8::9]:4711 to 198.51.100.7:443 <nil>\n")
}

// TestProxyHeaderOnPassedTLS: TLS that is led on by its server name is not
// touched; the container hears of the client first.
func TestProxyHeaderOnPassedTLS(t *testing.T) {
	cert := certtest.New(t).Issue(t, "mail.example.com").TLS(t)
	backend := script(t, "v1", func(_ int, c net.Conn, _ *bufio.Reader) {
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			return
		}
		h, err := proxyproto.Read(raw)
		inner := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
		defer func() { _ = inner.Close() }()
		fmt.Fprintf(inner, "v%d from %s %v\n", h.Version, h.Source, err)
	})
	r := newRig(t)
	port := freePort(t)
	tb := believing(port, traffic.TLS, backend)
	tb.Listeners[0].Routes = nil
	tb.Listeners[0].TLS = []traffic.ServerName{{Name: "mail.example.com", Service: "env/app/web", Port: backendPort, ProxyProtocol: 2}}
	r.put(tb)
	c := connect(t, port)
	fmt.Fprint(c.c, header(1, "192.0.2.9:4711"))
	outer := tls.Client(c.c, &tls.Config{ServerName: "mail.example.com", InsecureSkipVerify: true})
	line, err := bufio.NewReader(outer).ReadString('\n')
	if err != nil || line != "v2 from 192.0.2.9:4711 <nil>\n" {
		t.Errorf("the container heard %q, %v", line, err)
	}
	if got := outer.ConnectionState().PeerCertificates[0].DNSNames[0]; got != "mail.example.com" {
		t.Errorf("the certificate is %s", got)
	}
}
