package ambassador

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

// Large bodies of known length arrive whole both ways, the connection goes on,
// the counters have every byte, and no pipe stays behind.
func TestLargeBodiesBothWays(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	data := noise(5<<20 + 17)
	want := sha256.Sum256(data)
	b := script(t, "v1", func(_ int, c net.Conn, br *bufio.Reader) {
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			sum := sha256.New()
			n, err := io.Copy(sum, req.Body)
			if err != nil {
				return
			}
			if req.Method == http.MethodPut {
				ok(c, fmt.Sprintf("%d %x", n, sum.Sum(nil)))
				continue
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(data))
			if _, err := c.Write(data); err != nil {
				return
			}
		}
	})
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, b)))
	c := connect(t, port)
	for range 3 {
		status, body, err := c.roundTrip("GET", get("/"))
		if got := sha256.Sum256([]byte(body)); status != 200 || err != nil || got != want {
			t.Fatalf("download: %d, %d bytes, %v", status, len(body), err)
		}
		put := fmt.Sprintf("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(data), data)
		c.want("PUT", put, 200, fmt.Sprintf("%d %x", len(data), want))
	}
	rl := r.wk.Report().Services[0].Releases[0]
	if least := uint64(3 * len(data)); rl.BytesIn < least || rl.BytesOut < least || rl.BytesIn > least+10_000 || rl.BytesOut > least+10_000 {
		t.Errorf("counted %d bytes in and %d out, want a little more than %d each", rl.BytesIn, rl.BytesOut, least)
	}
}

// A client that stops reading does not stop the drain's deadline, and a download
// that is cut is not whole.
func TestLargeDownloadEndsWithDrain(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	const size = 64 << 20
	b := script(t, "v1", func(_ int, c net.Conn, br *bufio.Reader) {
		if _, err := readRequest(br); err != nil {
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
		_, _ = io.Copy(c, io.LimitReader(endless{}, size))
	})
	old := rel("v1", traffic.Active, b)
	r.put(table(port, traffic.HTTP, "v1", old))
	c := connect(t, port)
	fmt.Fprint(c.c, get("/"))
	if _, err := io.ReadFull(c.br, make([]byte, 4<<20)); err != nil {
		t.Fatal(err)
	}
	old.State, old.DrainDeadline = traffic.Draining, 50*time.Millisecond
	r.put(table(port, traffic.HTTP, "v2", rel("v2", traffic.Active, startBackend(t, "v2")), old))
	r.await("the drain", func(rep traffic.Report) bool { return rep.Services[0].Releases[1].Drained })
	got, err := io.Copy(io.Discard, c.br)
	if err == nil || got >= size {
		t.Errorf("%d bytes more, %v; want the download cut", got, err)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return copy(b, bytes.Repeat([]byte("e"), len(b))), nil }
