package ambassador

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/remorahq/remora/internal/traffic"
)

// Trailers go both ways, but for those that would change what a message means;
// chunks are framed anew and their extensions end here.
func TestTrailersBothWays(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	got := make(chan http.Header, 1)
	b := script(t, "v1", func(_ int, c net.Conn, br *bufio.Reader) {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if body, err := io.ReadAll(req.Body); err != nil || string(body) != "hello, you" {
			t.Errorf("the instance got %q, %v", body, err)
		}
		maps.Copy(req.Header, req.Trailer)
		got <- req.Header
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"+
			"5;ext=1\r\nworld\r\n0;last\r\nX-Sum: 2\r\nContent-Length: 7\r\nSet-Cookie: a=b\r\n\r\n")
	})
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b)))
	c := connect(t, port)
	fmt.Fprint(c.c, "POST / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-Check\r\n\r\n"+
		"7;a=b\r\nhello, \r\n3\r\nyou\r\n0\r\nX-Check: 1\r\nHost: evil\r\nAuthorization: me\r\nX_Check: 2\r\n\r\n")
	at := <-got
	if at.Get("X-Check") != "1" || at.Get("Te") != "trailers" || at.Get("Authorization") != "" || at.Get("X_Check") != "" {
		t.Errorf("the instance got %v", at)
	}
	var raw strings.Builder
	res, err := http.ReadResponse(bufio.NewReader(io.TeeReader(c.br, &raw)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); string(body) != "world" || err != nil {
		t.Errorf("the client got %q, %v", body, err)
	}
	if !strings.HasSuffix(raw.String(), "\r\n\r\n5\r\nworld\r\n0\r\nX-Sum: 2\r\n\r\n") {
		t.Errorf("on the wire: %q", raw.String())
	}
	if res.Trailer.Get("X-Sum") != "2" {
		t.Errorf("the client got the trailers %v", res.Trailer)
	}
}
