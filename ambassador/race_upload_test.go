package ambassador

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/remorahq/remora/internal/traffic"
)

// Row 5: an upload that fits the replay buffer can be replayed, a longer one
// cannot.
func TestRace05UploadReplay(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	drops := script(t, "drops", func(_ int, _ net.Conn, br *bufio.Reader) { _, _ = readRequest(br) })
	b := startBackend(t, "good")
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, drops, b)))
	upload := func(n int, chunked bool) string {
		body := strings.Repeat("b", n)
		if chunked {
			return fmt.Sprintf("PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", n, body)
		}
		return fmt.Sprintf("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", n, body)
	}
	for range 6 {
		connect(t, port).want("PUT", upload(60<<10, false), 200, "good 61440")
		connect(t, port).want("PUT", upload(60<<10, true), 200, "good 61440")
	}
	lost := 0
	r.put(table(port, traffic.Detect, "v2", rel("v2", traffic.Active, drops, b)))
	for range 8 {
		status, body, err := connect(t, port).roundTrip("PUT", upload(300<<10, true))
		switch {
		case err == nil && status == 502:
			lost++
		case err != nil || status != 200 || body != "good 307200":
			t.Errorf("got %d %q, %v", status, body, err)
		}
	}
	if lost == 0 {
		t.Error("a long upload was replayed, which nobody kept")
	}
	r.await("the replay budget given back", func(traffic.Report) bool { return r.wk.replay.Load() == 0 })
}

// Row 6: an answer before the upload's end reaches the client.
func TestRace06EarlyAnswerDuringUpload(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := script(t, "v1", func(_ int, c net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		fmt.Fprint(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
		_, _ = io.Copy(io.Discard, br)
	})
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b)))
	c := connect(t, port)
	fmt.Fprint(c.c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\nsome")
	status, body, err := c.response("POST")
	if status != 413 || body != "big" || err != nil {
		t.Fatalf("got %d %q, %v", status, body, err)
	}
}

// Row 7: the server decides whether the client is told to continue.
func TestRace07ExpectContinue(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := script(t, "v1", func(n int, c net.Conn, br *bufio.Reader) {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if req.URL.Path == "/no" {
			fmt.Fprint(c, "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
			return
		}
		fmt.Fprint(c, "HTTP/1.1 100 Continue\r\n\r\n")
		body, _ := io.ReadAll(req.Body)
		ok(c, string(body))
	})
	r.put(table(port, traffic.Detect, "v1", rel("v1", traffic.Active, b)))
	c := connect(t, port)
	fmt.Fprint(c.c, "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	readUntil(t, c, "HTTP/1.1 100 Continue\r\n\r\n")
	c.want("POST", "hello", 200, "hello")
	no := connect(t, port)
	no.want("POST", "POST /no HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", 417, "")
}
