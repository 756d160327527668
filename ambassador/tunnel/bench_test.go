package tunnel

import (
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkExchange sends a message there and an answer of the same size back.
func BenchmarkExchange(b *testing.B) {
	for _, size := range []int{64, 1 << 10, 4 << 10, 16 << 10, 32 << 10, 64 << 10, 256 << 10} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			near, client := pair(b)
			far, server := pair(b)
			tn := &Tunnel{Client: near, Server: far, Pools: new(Pools), Up: new(atomic.Uint64), Down: new(atomic.Uint64)}
			done := make(chan struct{})
			go func() { defer close(done); tn.Run() }()
			_ = client.SetDeadline(time.Time{})
			_ = server.SetDeadline(time.Time{})
			go echo(server, size)
			buf := make([]byte, size)
			b.SetBytes(int64(2 * size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Write(buf); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(client, buf); err != nil {
					b.Fatal(err)
				}
			}
			_ = client.Close()
			<-done
			tn.Pools.Close()
		})
	}
}

func echo(c net.Conn, size int) {
	buf := make([]byte, size)
	for {
		if _, err := io.ReadFull(c, buf); err != nil {
			_ = c.Close()
			return
		}
		if _, err := c.Write(buf); err != nil {
			return
		}
	}
}
