package ambassador

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"

	"github.com/remorahq/remora/internal/traffic"
)

// plainServer answers every request that ends in its last bytes with the same
// response, and allocates nothing while it does.
func plainServer(t *testing.T, last, response string) *backend {
	t.Helper()
	b := &backend{name: "v1", addr: freeAddress()}
	l, err := net.Listen("tcp", netip.AddrPortFrom(b.addr, backendPort).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answerAll(c, []byte(last), []byte(response))
		}
	}()
	return b
}

func answerAll(c net.Conn, last, response []byte) {
	defer c.Close()
	buf, n := make([]byte, 8192), 0
	for {
		m, err := c.Read(buf[n:])
		if err != nil {
			return
		}
		if n += m; !bytes.HasSuffix(buf[:n], last) {
			continue
		}
		n = 0
		if _, err := c.Write(response); err != nil {
			return
		}
	}
}

// TestSteadyPathAllocatesNothing counts the allocations of the whole program,
// client and instance included, for each request over kept connections.
func TestSteadyPathAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	const fields = "Host: shop.example.com\r\nUser-Agent: test\r\nAccept: */*\r\nCookie: a=b\r\n"
	body := bytes.Repeat([]byte("x"), 512)
	for _, c := range []struct{ name, request, last string }{
		{"get", "GET /some/path?with=query HTTP/1.1\r\n" + fields + "\r\n", "\r\n\r\n"},
		{"post", fmt.Sprintf("POST /some/path HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s", fields, len(body), body), string(body)},
	} {
		t.Run(c.name, func(t *testing.T) {
			response := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nKeep-Alive: timeout=60\r\nDate: today\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			r := newRig(t)
			port := freePort(t)
			tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, plainServer(t, c.last, string(response))))
			tb.AccessLog.Format = "json"
			r.put(tb)
			k := connect(t, port)
			request, buf := []byte(c.request), make([]byte, 8192)
			round := func() {
				if _, err := k.c.Write(request); err != nil {
					t.Fatal(err)
				}
				for n := 0; !bytes.HasSuffix(buf[:n], body); {
					m, err := k.c.Read(buf[n:])
					if err != nil {
						t.Fatal(err)
					}
					n += m
				}
			}
			for range 200 {
				round()
			}
			runtime.GC()
			round() // the collection emptied the pools
			round()
			// Less than one in ten: the program's other goroutines have their ticks.
			if n := countAllocs(1000, round); n > 100 {
				t.Errorf("1000 requests allocate %d times, want none", n)
			}
		})
	}
}

// countAllocs is [testing.AllocsPerRun] without its rounding down.
func countAllocs(runs int, f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}
