package ambassador

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// message is a gRPC message in its length-prefixed form.
func message(text string) string {
	b := make([]byte, 5, 5+len(text))
	binary.BigEndian.PutUint32(b[1:], uint32(len(text)))
	return string(append(b, text...))
}

// grpcServer answers as gRPC servers do: with a status in the trailers. What it
// does is the path's word.
func grpcServer(name string, began chan string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Type") != "application/grpc" || r.Header.Get("Te") != "trailers" {
			http.Error(w, "not gRPC", http.StatusUnsupportedMediaType)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "application/grpc")
		switch r.URL.Path {
		case "/trailers-only":
			h.Set("Grpc-Status", "5")
			h.Set("Grpc-Message", "nothing there")
			return
		case "/hang", "/stream":
			if r.URL.Path == "/stream" {
				_, _ = io.WriteString(w, message(name))
				_ = http.NewResponseController(w).Flush()
			}
			began <- name
			<-r.Context().Done()
			return
		case "/die":
			_, _ = io.WriteString(w, message(name))
			_ = http.NewResponseController(w).Flush()
			_ = r.Context().Value(connKey{}).(net.Conn).Close()
			return
		}
		h.Set("Trailer", "Grpc-Status")
		b, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, message(fmt.Sprintf("%s %d %s", name, len(b), r.Trailer.Get("X-End"))))
		h.Set("Grpc-Status", "0")
		h.Set(http.TrailerPrefix+"X-Undeclared", "1")
	})
}

func startGRPC(t *testing.T, name string, began chan string) *backend {
	t.Helper()
	return startH2Backend(t, name, grpcServer(name, began), nil)
}

func (c *h2client) call(path string, body io.Reader) *http.Request {
	r := c.request("POST", path, struct{ io.Reader }{body})
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("Te", "trailers")
	return r
}

// status is the status of an answer of gRPC, in its trailers or its head.
func status(res *http.Response) string {
	if s := res.Trailer.Get("Grpc-Status"); s != "" {
		return s
	}
	return res.Header.Get("Grpc-Status")
}

func (c *h2client) wantStatus(r *http.Request, code, prefix string) *http.Response {
	c.t.Helper()
	res, body, err := c.do(r)
	if err != nil || res.StatusCode != 200 || status(res) != code || !strings.HasPrefix(body, prefix) {
		c.t.Fatalf("%s: got %v %q, %v; want status %s", r.URL.Path, res, body, err, code)
	}
	return res
}

// Calls go through with their trailers, both ways, through a switch and back.
func TestGRPCThroughSwitchAndRollback(t *testing.T) {
	for _, protocol := range []traffic.Protocol{traffic.HTTP, traffic.Detect} {
		t.Run(string(protocol), func(t *testing.T) {
			a, b := startGRPC(t, "v1", nil), startGRPC(t, "v2", nil)
			r := newRig(t)
			port := freePort(t)
			up := traffic.UpstreamH2C
			if protocol == traffic.Detect {
				up = traffic.UpstreamHTTP1 // it is seen what the container speaks
			}
			v1 := viaUpstream(table(port, protocol, "v1", rel("v1", traffic.Active, a), rel("v2", traffic.Standby, b)), up)
			v2 := viaUpstream(table(port, protocol, "v2", rel("v2", traffic.Active, b), rel("v1", traffic.Standby, a)), up)
			r.put(v1)
			c := connectH2(t, port)
			for i, name := range []string{"v1", "v2", "v1"} {
				if i > 0 {
					r.put(map[string]*traffic.Table{"v1": v1, "v2": v2}[name])
				}
				req := c.call("/echo", strings.NewReader(message("abc")))
				req.Trailer = http.Header{"X-End": {"yes"}}
				res := c.wantStatus(req, "0", message(name+" 8 yes"))
				if res.Trailer.Get("X-Undeclared") != "1" {
					t.Errorf("trailers: %v", res.Trailer)
				}
				res = c.wantStatus(c.call("/trailers-only", strings.NewReader("")), "5", "")
				if res.Header.Get("Grpc-Message") != "nothing there" || res.ContentLength > 0 {
					t.Errorf("trailers only: %+v", res)
				}
			}
			if st := c.cc.State(); st.Closing || st.Closed {
				t.Errorf("a switch ended the client's connection: %+v", st)
			}
		})
	}
}

// At the drain's deadline a call gets status 14, whether or not its answer has
// begun.
func TestGRPCDrainDeadline(t *testing.T) {
	began := make(chan string, 2)
	a, b := startGRPC(t, "v1", began), startGRPC(t, "v2", nil)
	r := newRig(t)
	port := freePort(t)
	r.put(viaUpstream(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a)), traffic.UpstreamH2C))
	c := connectH2(t, port)
	done := make(chan struct{}, 2)
	for _, path := range []string{"/hang", "/stream"} {
		go func() {
			defer func() { done <- struct{}{} }()
			res, body, err := c.do(c.call(path, strings.NewReader(message("x"))))
			if err != nil || res.StatusCode != 200 || status(res) != "14" {
				t.Errorf("%s: got %v, %v; want status 14", path, res, err)
				return
			}
			if want := map[string]string{"/stream": message("v1")}[path]; body != want {
				t.Errorf("%s: got %q, want %q", path, body, want)
			}
		}()
	}
	<-began
	<-began
	v1 := rel("v1", traffic.Draining, a)
	v1.DrainDeadline = 50 * time.Millisecond
	r.put(viaUpstream(table(port, traffic.HTTP, "v2", rel("v2", traffic.Active, b), v1), traffic.UpstreamH2C))
	<-done
	<-done
	c.wantStatus(c.call("/echo", strings.NewReader("")), "0", message("v2 0 "))
	r.await("the release to be drained", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].Drained })
}

// What is refused and what breaks off is a status too, and a client's own
// deadline is kept.
func TestGRPCFailures(t *testing.T) {
	began := make(chan string, 1)
	r := newRig(t)
	port := freePort(t)
	tb := func(b *backend) *traffic.Table {
		return viaUpstream(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b)), traffic.UpstreamH2C)
	}
	r.put(tb(dead("v1")))
	c := connectH2(t, port)
	res := c.wantStatus(c.call("/echo", strings.NewReader("")), "14", "")
	if m := res.Header.Get("Grpc-Message"); !strings.HasPrefix(m, "remora: ") {
		t.Errorf("grpc-message is %q", m)
	}
	maintained := tb(dead("v1"))
	maintained.Services[0].Maintenance = true
	r.put(maintained)
	c.wantStatus(c.call("/echo", strings.NewReader("")), "14", "")
	r.put(tb(startGRPC(t, "v1", began)))
	c.wantStatus(c.call("/die", strings.NewReader("")), "14", "")
	call := c.call("/hang", strings.NewReader(""))
	call.Header.Set("Grpc-Timeout", "50m")
	c.wantStatus(call, "4", "")
	<-began
	c.wantStatus(c.call("/echo", strings.NewReader("")), "0", message("v1 0 "))
}
