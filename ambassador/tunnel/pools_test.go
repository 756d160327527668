package tunnel

import (
	"bytes"
	"io"
	"os"
	"testing"
	"time"
)

// descriptors counts those of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func pipes(t *Tunnel) int {
	t.Pools.mu.Lock()
	defer t.Pools.mu.Unlock()
	return t.Pools.pipes
}

// lentPipes counts those that tunnels hold.
func lentPipes(t *Tunnel) int {
	t.Pools.mu.Lock()
	defer t.Pools.mu.Unlock()
	return t.Pools.pipes - len(t.Pools.free)
}

// An idle tunnel holds two descriptors, also after much has passed.
func TestIdleTunnelHoldsNoPipe(t *testing.T) {
	tn, client, server, _ := run(t, false)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	before := descriptors(t)
	go func() { _, _ = client.Write(data) }()
	got := make([]byte, len(data))
	if _, err := io.ReadFull(server, got); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("the bytes came otherwise, %v", err)
	}
	send(t, server, "x")
	expect(t, client, "x")
	if pipes(tn) == 0 {
		t.Error("nothing was spliced")
	}
	// The bytes may be here before the tunnel has looked for more.
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); lentPipes(tn) > 0; <-tick.C {
		if time.Now().After(end) {
			t.Fatal("an idle tunnel holds a pipe")
		}
	}
	tn.Pools.Close()
	if n := descriptors(t); n > before {
		t.Errorf("%d descriptors more than before", n-before)
	}
}

// The pool bounds its pipes; tunnels without one go through buffers.
func TestPoolsAreBounded(t *testing.T) {
	var p Pools
	var lent []*pipe
	for range maxPipes {
		pp := p.pipe()
		if pp == nil {
			t.Fatal("no pipe")
		}
		lent = append(lent, pp)
	}
	if p.pipe() != nil {
		t.Error("there is one more than allowed")
	}
	p.putPipe(lent[0], true)
	if p.pipe() != lent[0] {
		t.Error("a pipe that came back empty is not lent again")
	}
	p.putPipe(lent[1], false)
	if lent[1] = p.pipe(); lent[1] == nil {
		t.Fatal("a pipe that came back with bytes is not replaced")
	}
	for _, pp := range lent {
		pp.close()
	}
}

// A WebSocket's payload is spliced, its headers are seen.
func TestLargeFrames(t *testing.T) {
	tn, client, server, done := run(t, true)
	for _, n := range []int{70_000, 1 << 20, 3, 2 << 20} {
		up := frame(n, true)
		go func() { _, _ = io.WriteString(client, up) }()
		expect(t, server, up)
	}
	if pipes(tn) == 0 {
		t.Error("nothing was spliced")
	}
	tn.End()
	expect(t, server, closeMasked)
	expect(t, client, closePlain)
	_, _ = client.Close(), server.Close()
	<-done
	tn.Pools.Close()
}
