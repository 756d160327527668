//go:build !race

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
			b.conns.Add(1)
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
// client and instance included, for each request over kept connections. The race
// detector allocates by itself, so `make test` runs it once more without.
func TestSteadyPathAllocatesNothing(t *testing.T) {
	const fields = "Host: shop.example.com\r\nUser-Agent: test\r\nAccept: */*\r\nCookie: a=b\r\n"
	body := bytes.Repeat([]byte("x"), 512)
	for _, c := range []struct{ name, request, last string }{
		{"get", "GET /some/path?with=query HTTP/1.1\r\n" + fields + "\r\n", "\r\n\r\n"},
		{"post", fmt.Sprintf("POST /some/path HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s", fields, len(body), body), string(body)},
	} {
		t.Run(c.name, func(t *testing.T) {
			response := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nKeep-Alive: timeout=60\r\nDate: today\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			r, b := newRig(t), plainServer(t, c.last, string(response))
			port := freePort(t)
			tb := table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b))
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
			if n := b.steadyAllocs(1000, round); n > 100 {
				t.Errorf("1000 requests allocate %d times, want none", n)
			}
		})
	}
}

// steadyAllocs counts allocations over connections that stay. Where a busy
// machine lets one rest for so long that the next request has to dial, they are
// counted anew.
func (b *backend) steadyAllocs(runs int, f func()) (n uint64) {
	for range 10 {
		before := b.conns.Load()
		if n = countAllocs(runs, f); b.conns.Load() == before {
			break
		}
	}
	return n
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
