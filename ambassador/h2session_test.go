package ambassador

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/remorahq/remora/internal/traffic"
)

// TLS clients get HTTP/2 by ALPN; who asks for HTTP/1.1 or nothing, that.
func TestH2OverTLS(t *testing.T) {
	r := newTLSRig(t)
	putCertificates(t, r.wk, pair("a", r.ca.Issue(t, "a.test")))
	r.names(traffic.ServerName{Name: "a.test", Certificate: "a"})
	for _, protocol := range []string{"h2", "http/1.1", ""} {
		cfg := r.config("a.test")
		cfg.NextProtos = nil
		if protocol != "" {
			cfg.NextProtos = []string{protocol}
		}
		c, state, err := r.dial(cfg)
		if err != nil || state.NegotiatedProtocol != protocol {
			t.Fatalf("%q: got %q, %v", protocol, state.NegotiatedProtocol, err)
		}
		if protocol != "h2" {
			c.want(http.MethodGet, get("/"), 200, "b 0")
			continue
		}
		h := newH2client(t, c.c.(*tls.Conn), r.port)
		h.want("GET", "/", "", 200, "b 0")
		h.want("POST", "/", strings.Repeat("x", 300_000), 200, "b 300000")
		_, body, err := h.do(h.request("GET", "/headers", nil))
		if err != nil || !strings.Contains(body, "X-Forwarded-Proto: https\r\n") {
			t.Errorf("the instance got %q, %v", body, err)
		}
	}
}

// rawH2 is a client that sees every frame.
type rawH2 struct {
	t  *testing.T
	c  net.Conn
	fr *http2.Framer
}

func connectRaw(t *testing.T, port uint16) *rawH2 {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	fmt.Fprint(c, http2.ClientPreface)
	f := &rawH2{t: t, c: c, fr: http2.NewFramer(c, c)}
	_ = f.fr.WriteSettings()
	_ = c.SetReadDeadline(time.Now().Add(15 * time.Second))
	return f
}

func (c *rawH2) head(id uint32, end bool, fields ...string) {
	c.t.Helper()
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	if err := c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b.Bytes(), EndStream: end, EndHeaders: true}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *rawH2) get(id uint32, path string) {
	c.head(id, true, ":method", "GET", ":scheme", "http", ":authority", "x", ":path", path)
}

// next reads frames up to one of the kind.
func (c *rawH2) next(kind http2.FrameType) http2.Frame {
	c.t.Helper()
	for {
		f, err := c.fr.ReadFrame()
		if err != nil {
			c.t.Fatalf("waited for %v: %v", kind, err)
		}
		if f.Header().Type == kind {
			return f
		}
	}
}

func (c *rawH2) ended(id uint32) {
	c.t.Helper()
	for {
		if f := c.next(http2.FrameData); f.Header().StreamID == id && f.Header().Flags.Has(http2.FlagDataEndStream) {
			return
		}
	}
}

// A worker that a successor follows ends its sessions in two steps: what is in
// flight, and what comes between the two, is served.
func TestDrainingWorkerSendsTwoGoAways(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a := startBackend(t, "v1")
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a)))
	c := connectRaw(t, port)
	c.get(1, "/slow")
	<-a.began
	r.wk.Drain()
	if f := c.next(http2.FrameGoAway).(*http2.GoAwayFrame); f.LastStreamID != 1<<31-1 || f.ErrCode != http2.ErrCodeNo {
		t.Errorf("the first GOAWAY is %v", f)
	}
	c.get(3, "/")
	c.ended(3)
	if f := c.next(http2.FrameGoAway).(*http2.GoAwayFrame); f.LastStreamID != 3 || f.ErrCode != http2.ErrCodeNo {
		t.Errorf("the second GOAWAY is %v", f)
	}
	close(a.slow)
	c.ended(1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r.wk.Drained(ctx)
	if n := r.wk.conns.count(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

// What must not reach an instance gets its answer on the stream, and the
// connection goes on.
func TestH2RefusedRequestsReachNobody(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a := startBackend(t, "v1")
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a)))
	c := connectRaw(t, port)
	id, dec := uint32(1), hpack.NewDecoder(4096, nil)
	for name, f := range map[string][]string{
		"method_with_space":  {":method", "GET / HTTP/1.1\r\nX:", ":scheme", "http", ":authority", "x", ":path", "/"},
		"method_token":       {":method", "G T", ":scheme", "http", ":authority", "x", ":path", "/"},
		"path_with_space":    {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/ HTTP/1.1"},
		"authority_slash":    {":method", "GET", ":scheme", "http", ":authority", "x/y", ":path", "/"},
		"authority_and_host": {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/", "host", "y"},
		"no_authority":       {":method", "GET", ":scheme", "http", ":path", "/"},
		"connection":         {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/", "connection", "close"},
		"transfer_encoding":  {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/", "transfer-encoding", "chunked"},
		"upgrade":            {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/", "upgrade", "h2c"},
		"keep_alive":         {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/", "keep-alive", "1"},
		"proxy_connection":   {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/", "proxy-connection", "x"},
		"te":                 {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/", "te", "gzip"},
		"value_lf":           {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/", "a", "b\nc: d"},
		"value_nul":          {":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/", "a", "b\x00"},
		"length_and_no_body": {":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/", "content-length", "5"},
		"two_lengths":        {":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/", "content-length", "0", "content-length", "0"},
		"connect":            {":method", "CONNECT", ":authority", "x:1"},
	} {
		c.head(id, true, f...)
		for refused := false; !refused; {
			f, err := c.fr.ReadFrame()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			switch f := f.(type) {
			case *http2.RSTStreamFrame:
				refused = f.StreamID == id
			case *http2.HeadersFrame:
				fields, err := dec.DecodeFull(f.HeaderBlockFragment())
				if err != nil || len(fields) == 0 || fields[0].Value < "400" {
					t.Errorf("%s: answered with %v, %v", name, fields, err)
				}
				refused = f.StreamID == id
			case *http2.GoAwayFrame:
				t.Fatalf("%s: ended the connection", name)
			}
		}
		id += 2
	}
	if n := a.conns.Load(); n != 0 {
		t.Errorf("the backend got %d connections", n)
	}
	c.get(id, "/")
	c.ended(id)
}

// A body that is not as long as it was said to be is not taken for whole.
func TestH2BodyShorterThanSaid(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	a := startBackend(t, "v1")
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a)))
	c := connectRaw(t, port)
	for i, length := range []string{"10", "1000000"} {
		id := uint32(2*i + 1)
		c.head(id, false, ":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/", "content-length", length, "x-id", "short")
		_ = c.fr.WriteData(id, true, []byte("abc"))
		c.next(http2.FrameRSTStream)
	}
	r.await("the claims to end", func(rep traffic.Report) bool { return rep.Services[0].Releases[0].Inflight == 0 })
}

// Upgrade: h2c is no way to HTTP/2 (RFC 9113 §3.1).
func TestUpgradeToH2CIsIgnored(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, startBackend(t, "v1"))))
	connect(t, port).want("GET", "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n", 200, "v1")
}
