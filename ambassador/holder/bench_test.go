package holder_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// cpu is the processor time that a process has used.
func cpu(tb testing.TB, pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		tb.Fatal(err)
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+2:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// rss is a process's resident memory in bytes.
func rss(tb testing.TB, pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		tb.Fatal(err)
	}
	pages, _ := strconv.Atoi(strings.Fields(string(b))[1])
	return pages * os.Getpagesize()
}

// cheapBackend answers every request with the same 62 bytes.
func cheapBackend(tb testing.TB) *backend {
	b := &backend{name: "cheap", addr: netip.AddrFrom4([4]byte{127, byte(10 + rand.IntN(200)), byte(rand.IntN(250)), byte(1 + rand.IntN(250))})}
	l, err := net.Listen("tcp", netip.AddrPortFrom(b.addr, backendPort).String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 62\r\n\r\n" + strings.Repeat("x", 62))
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				br := bufio.NewReader(c)
				for {
					line, err := br.ReadSlice('\n')
					if err != nil {
						return
					}
					if len(line) == 2 {
						if _, err := c.Write(answer); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return b
}

// BenchmarkRequest measures the worker's processor time for a small GET over
// kept connections.
func BenchmarkRequest(b *testing.B) {
	p := start(b, b.TempDir())
	be := cheapBackend(b)
	port := freePort(b)
	p.put(table(port, "v1", be.rel("v1", traffic.Active)))
	const conns = 64
	raw := []byte("GET /some/path HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
	var wg sync.WaitGroup
	before := cpu(b, p.workers()[0])
	b.ResetTimer()
	for n := range conns {
		wg.Go(func() {
			c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				b.Error(err)
				return
			}
			defer c.Close()
			br := bufio.NewReader(c)
			for range b.N/conns + min(1, n) {
				if _, err := c.Write(raw); err != nil {
					b.Error(err)
					return
				}
				res, err := http.ReadResponse(br, nil)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	used := cpu(b, p.workers()[0]) - before
	b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-µs/req")
	b.ReportMetric(float64(rss(b, p.workers()[0])+rss(b, p.cmd.Process.Pid))/(1<<20), "rss-MB")
}

// TestIdleMemory is the budget of DESIGN §13.
func TestIdleMemory(t *testing.T) {
	p := start(t, t.TempDir())
	port := freePort(t)
	be := startBackend(t, "v1")
	p.put(table(port, "v1", be.rel("v1", traffic.Active)))
	idle := rss(t, p.workers()[0]) + rss(t, p.cmd.Process.Pid)
	t.Logf("idle: worker and holder together %.1f MB", float64(idle)/(1<<20))
	if idle > 20<<20 {
		t.Errorf("idle memory is over 20 MB")
	}
	const conns = 4000
	open := make([]net.Conn, 0, conns)
	t.Cleanup(func() {
		for _, c := range open {
			_ = c.Close()
		}
	})
	for range conns {
		c := dial(t, port)
		open = append(open, c.c)
		if _, err := exchange(c.c, c.br, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	more := func() int { return rss(t, p.workers()[0]) + rss(t, p.cmd.Process.Pid) - idle }
	t.Logf("%d idle client connections, each after a request: %.1f MB more", conns, float64(more())/(1<<20))
	if more() > conns*(100<<20)/10_000 {
		t.Errorf("idle connections take %d bytes each, the budget is %d", more()/conns, (100<<20)/10_000)
	}
}
