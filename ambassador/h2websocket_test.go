package ambassador

import (
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/remorahq/remora/internal/traffic"
)

// extendedConnect is what the holder puts into a worker's environment, where
// x/net looks for it when it is initialised.
const extendedConnect = "http2xconnect=1"

// A WebSocket over HTTP/2 (RFC 8441) reaches its container as one of HTTP/1.1,
// stays through a switch, and ends with 1012 on both sides at the deadline of
// tunnels.
func TestWebSocketOverHTTP2(t *testing.T) {
	if !strings.Contains(os.Getenv("GODEBUG"), extendedConnect) {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWebSocketOverHTTP2$", "-test.v")
		cmd.Env = append(os.Environ(), "GODEBUG="+extendedConnect)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	ended := make(chan websocket.StatusCode, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/page" {
			_, _ = io.WriteString(w, "a page")
			return
		}
		if r.URL.Path != "/chat" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"echo"}})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		for {
			kind, b, err := c.Read(r.Context())
			if err != nil {
				ended <- websocket.CloseStatus(err)
				return
			}
			if err := c.Write(r.Context(), kind, b); err != nil {
				return
			}
		}
	})
	a, b := startPlain(t, "v1", h), startPlain(t, "v2", h)
	r := newRig(t)
	port := freePort(t)
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a)))
	c := connectH2(t, port)
	open := func(path string) (*http.Response, *io.PipeWriter) {
		t.Helper()
		pr, pw := io.Pipe()
		req := c.request(http.MethodConnect, path, pr)
		req.Header[":protocol"] = []string{"websocket"}
		req.Header.Set("Sec-WebSocket-Version", "13")
		req.Header.Set("Sec-WebSocket-Protocol", "echo")
		res, err := c.cc.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = pw.Close(), res.Body.Close() })
		return res, pw
	}
	if res, _ := open("/other"); res.StatusCode != http.StatusForbidden {
		t.Errorf("an answer that is no upgrade: %v", res)
	}
	if res, _ := open("/page"); res.StatusCode != http.StatusBadGateway {
		t.Errorf("a page was taken for a WebSocket: %v", res)
	}
	res, pw := open("/chat?x=1")
	if res.StatusCode != 200 || res.Header.Get("Sec-WebSocket-Protocol") != "echo" || res.Header.Get("Sec-WebSocket-Accept") != "" {
		t.Fatalf("got %+v", res)
	}
	say := func(word string) {
		t.Helper()
		if _, err := pw.Write(append([]byte{0x81, 0x80 | byte(len(word)), 0, 0, 0, 0}, word...)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 2+len(word))
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got[2:]) != word {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	say("one")
	v1 := rel("v1", traffic.Draining, a)
	v1.DrainDeadline = 50 * time.Millisecond
	v1.TunnelDeadline = 300 * time.Millisecond
	r.put(table(port, traffic.HTTP, "v2", rel("v2", traffic.Active, b), v1))
	if rep := r.wk.Report().Services[0].Releases[1]; rep.Tunnels != 1 {
		t.Errorf("the release has %d tunnels", rep.Tunnels)
	}
	say("two")
	rest, err := io.ReadAll(res.Body)
	if err != nil || string(rest) != "\x88\x02\x03\xf4" {
		t.Errorf("the client got %q, %v; want a Close frame of 1012", rest, err)
	}
	if code := <-ended; code != websocket.StatusServiceRestart {
		t.Errorf("the server got %v", code)
	}
	r.await("the release to be drained", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].Drained })
	// The next one goes to the new release, and ends with its client.
	res, pw = open("/chat")
	say("three")
	_ = res.Body.Close()
	if code := <-ended; code != -1 {
		t.Errorf("the server got %v when the client was gone", code)
	}
	r.await("the tunnel to end", func(rep traffic.Report) bool { return rep.Services[0].Releases[0].Tunnels == 0 })
	if err := pw.Close(); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}
