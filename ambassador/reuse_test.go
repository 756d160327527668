package ambassador

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// Row 3: how long a connection was idle counts until the request goes out, not
// until it arrived. A connection that came back while a POST's body was awaited
// looked as if it never had been idle.
func TestRace03ReuseIsJudgedWhenTheRequestGoesOut(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := script(t, "v1", func(n int, c net.Conn, br *bufio.Reader) {
		for {
			if _, err := readRequest(br); err != nil {
				return
			}
			ok(c, fmt.Sprint("connection ", n))
		}
	})
	tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b))
	tb.Listeners[0].Routes[0].MaxConns = 10
	r.put(tb)
	slow := connect(t, port)
	fmt.Fprint(slow.c, post[:len(post)-1])
	r.await("the POST's head", func(traffic.Report) bool {
		return r.wk.view.Load().listeners[tb.Listeners[0].ListenerKey].routes[0].rt.seats.Load() == 1
	})
	connect(t, port).want("GET", get("/"), 200, "connection 0")
	slow.want("POST", post[len(post)-1:], 200, "connection 1")
}

// A body where none may be (HEAD, 204, 304) never reaches the next client.
func TestBodyOfNoBodyIsNobodysAnswer(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	answered, more := make(chan struct{}), make(chan struct{})
	b := script(t, "v1", func(n int, c net.Conn, br *bufio.Reader) {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if req.Method != http.MethodHead {
			ok(c, fmt.Sprint("connection ", n))
			return
		}
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 38\r\n\r\n")
		<-answered
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		close(more)
	})
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b)))
	c := connect(t, port)
	c.want("HEAD", "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", 200, "")
	close(answered)
	<-more
	c.want("GET", get("/"), 200, "connection 1")
}

// A stream of events that is ended before its server ends it leaves a connection
// that nobody uses again.
func TestEndedStreamsConnectionIsNotReused(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := script(t, "v1", func(n int, c net.Conn, br *bufio.Reader) {
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if req.URL.Path != "/events" {
				ok(c, fmt.Sprint("connection ", n))
				continue
			}
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n")
		}
	})
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b)))
	events := connect(t, port)
	fmt.Fprint(events.c, get("/events"))
	rep := r.await("a stream", func(rep traffic.Report) bool { return rep.Services[0].Releases[0].Tunnels == 1 })
	r.wk.eachRelease(func(rel *release) { rel.kick(true, 0) })
	if status, body, err := events.response("GET"); status != 200 || body != "data: 1\n\n" || err != nil {
		t.Fatalf("got %d %q, %v, report %+v", status, body, err, rep)
	}
	events.want("GET", get("/"), 200, "connection 1")
}

// An instance that goes on with informational answers is not waited for.
func TestInformationalAnswersAreBounded(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	b := script(t, "v1", func(_ int, c net.Conn, br *bufio.Reader) {
		if _, err := readRequest(br); err != nil {
			return
		}
		for {
			if _, err := fmt.Fprint(c, "HTTP/1.1 102 Processing\r\n\r\n"); err != nil {
				return
			}
		}
	})
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b)))
	for _, version := range []string{"1.1", "1.0"} {
		c := connect(t, port)
		status, _, err := c.roundTrip("GET", "GET / HTTP/"+version+"\r\nHost: x\r\n\r\n")
		for status == 102 {
			status, _, err = c.response("GET")
		}
		if status != 502 {
			t.Errorf("HTTP/%s: got %d, %v", version, status, err)
		}
	}
	c := connectH2(t, port)
	req := c.request("GET", "/", nil)
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(int, textproto.MIMEHeader) error { return nil },
	}))
	_ = c.c.SetDeadline(time.Now().Add(15 * time.Second))
	if res, _, err := c.do(req); err != nil || res.StatusCode != 502 {
		t.Errorf("HTTP/2: got %v, %v", res, err)
	}
}
