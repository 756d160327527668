package ambassador

import (
	"bufio"
	"bytes"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/remorahq/remora/ambassador/http1"
	"github.com/remorahq/remora/ambassador/page"
	"github.com/remorahq/remora/ambassador/tunnel"
	"github.com/remorahq/remora/internal/traffic"
)

const (
	// silence is after how long without a byte of the client the upstream is
	// dialled, because the server may be the one to speak first.
	silence = 50 * time.Millisecond
	// lineLimit is how long the first line may take before the connection is
	// taken for a tunnel.
	lineLimit = time.Second
)

// detect decides by the first bytes what the connection is, and serves it. An
// undecided connection claims nothing.
func (k *conn) detect() {
	server, client := k.speaksFirst()
	if server {
		k.tunnel()
		return
	}
	if !client {
		if !k.hears(silence) && k.eager() {
			return
		}
	}
	if !k.await() {
		return
	}
	switch k.verdict() {
	case http1.RequestLine:
		k.learn(false)
		k.serveHTTP()
	case http1.Preface:
		if !k.translates() {
			k.tunnel()
			return
		}
		k.learn(false)
		k.serveH2()
	case http1.Other:
		k.tunnel()
	}
}

// verdict reads the first line; one that does not come is no HTTP.
func (k *conn) verdict() http1.Verdict {
	k.readBy = time.Time{}
	_ = k.c.SetReadDeadline(time.Now().Add(lineLimit))
	for {
		buf, _ := k.br.Peek(k.br.Buffered())
		if v := http1.Detect(buf); v != http1.Undecided {
			return v
		}
		if _, err := k.br.Peek(len(buf) + 1); err != nil {
			return http1.Other
		}
	}
}

// speaksFirst is what is known of the port that a tunnel would lead to.
func (k *conn) speaksFirst() (server, client bool) {
	w := k.want()
	rv, err := w.resolve(k.wk.view.Load())
	if err != nil {
		return false, true
	}
	if rv.spec.ProxyProtocol != 0 {
		return true, false // we do, with its header
	}
	sv, port := rv.sv, rv.spec.Port
	for _, p := range sv.spec.ServerFirst {
		server = server || p == port
	}
	s, c := sv.svc.speaksFirst(port)
	return server || s, c
}

func (k *conn) learn(server bool) {
	w := k.want()
	rv, err := w.resolve(k.wk.view.Load())
	if err == nil && rv.sv.svc.learn(rv.spec.Port, server) && server {
		k.wk.changed.fire()
	}
}

// eager dials the upstream for a client that is silent, and serves the
// connection if the server speaks first (true). It returns false as soon as
// the client speaks, or when the server ends the connection.
func (k *conn) eager() bool {
	for {
		w := k.want()
		v := k.wk.view.Load()
		rv, err := w.resolve(v)
		if err != nil || !rv.allows(&w) || time.Since(k.arrived) > v.limits.idle {
			return false
		}
		port := rv.spec.Port
		d := rv.sv.decide(&w)
		up := k.dialDecided(d, &rv.spec)
		if up == nil {
			if k.hears(goneEvery) || k.gone() {
				return false
			}
			continue
		}
		client, server := k.whoSpeaks(up, v)
		switch {
		case client:
			up.drop()
			return false
		case !server:
			up.drop() // another table is in force
			continue
		case quietEnd(up):
			up.drop()
			return false
		}
		t := verdict{arrived: k.arrived, tunnel: true, route: rv.rt, svc: rv.sv.svc}
		if err := k.wk.admit(&w, rv); err != nil {
			up.drop()
			k.reset()
			t.refuse(err)
			k.tunnelled(&t)
			return true
		}
		cl, ok := k.wk.claim(d, port, true)
		if !ok {
			up.drop()
			w.leave()
			continue
		}
		defer w.leave()
		k.learn(true)
		cl.rel.total.Add(1)
		w.forget()
		t.rel, t.ep, t.attempts = cl.rel, cl.ep, 1
		k.join(&cl, up, &tunnel.Tunnel{}, &t)
		cl.end(k.wk.changed.fire)
		k.tunnelled(&t)
		return true
	}
}

// dialDecided dials the endpoint that was decided on, or returns nil. Its
// failure is noted by the attempt that follows the client's first byte.
func (k *conn) dialDecided(d decision, r *traffic.Route) *upstream {
	if d.ev == nil {
		return nil
	}
	up, err := k.dialFor(d.ev.ep, r)
	if err != nil {
		return nil
	}
	return up
}

// hears waits for the client's first byte, at most for d.
func (k *conn) hears(d time.Duration) bool {
	_ = k.c.SetReadDeadline(time.Now().Add(d))
	heard := readable(k.raw)
	_ = k.c.SetReadDeadline(time.Time{})
	return heard
}

// whoSpeaks waits for the first byte of either side, or for another table.
func (k *conn) whoSpeaks(up *upstream, v *view) (client, server bool) {
	past := time.Unix(1, 0)
	var spoke atomic.Bool
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		raw, err := up.SyscallConn()
		if err == nil && readable(raw) {
			spoke.Store(true)
			_ = k.c.SetReadDeadline(past)
		}
	})
	wg.Go(func() {
		select {
		case <-stop:
		case <-v.superseded:
			_ = k.c.SetReadDeadline(past)
		case <-k.wk.stopping:
			_ = k.c.SetReadDeadline(past)
		}
	})
	client = readable(k.raw)
	_ = up.SetReadDeadline(past)
	close(stop)
	wg.Wait()
	_ = k.c.SetReadDeadline(time.Time{})
	_ = up.SetReadDeadline(time.Time{})
	return client, spoke.Load()
}

// quietEnd says that the server ended the connection without a byte.
func quietEnd(up *upstream) bool {
	raw, err := up.SyscallConn()
	return err != nil || !hasBytes(raw)
}

// want is what a connection that becomes a tunnel asks for.
func (k *conn) want() want {
	return want{listener: k.key, tunnel: true, secure: k.secure, authority: k.authority, passes: k.passes, arrived: k.arrived, client: k.peer, by: k}
}

// tunnel claims a release for the whole connection and joins it with one of
// its endpoints.
func (k *conn) tunnel() {
	w := k.want()
	t := verdict{arrived: k.arrived, tunnel: true}
	defer k.tunnelled(&t)
	rv, err := w.resolve(k.wk.view.Load())
	if err == nil {
		t.route, t.svc = rv.rt, rv.sv.svc
		err = k.wk.admit(&w, rv)
		defer w.leave()
	}
	if err != nil {
		t.refuse(err)
		k.reset()
		return
	}
	for {
		cl, err := k.wk.acquire(&w)
		if err != nil && w.again(err) {
			continue
		}
		if err != nil {
			t.refuse(err)
			k.reset()
			return
		}
		t.rel, t.ep = cl.rel, cl.ep
		t.attempts++
		begun := time.Now()
		up, err := k.dialFor(cl.ep, &w.route.spec)
		t.connect = time.Since(begun)
		if err != nil {
			ep := cl.ep
			cl.rel.connectErrors.Add(1)
			ep.connectFailed(cl.port, err, func() { k.wk.healthChanged(ep) })
			w.failed(ep, err)
			cl.end(k.wk.changed.fire)
			continue
		}
		cl.rel.total.Add(1)
		w.forget()
		k.join(&cl, up, &tunnel.Tunnel{FromClient: k.takeRead()}, &t)
		cl.end(k.wk.changed.fire)
		return
	}
}

// upgraded tunnels after a request that both sides agreed to switch at. The
// server's reader goes back to its pool.
func (k *conn) upgraded(cl *claim, up *upstream, fromServer *bufio.Reader, v *verdict) {
	read := takeBuffered(fromServer)
	k.wk.readers.put(fromServer)
	k.join(cl, up, &tunnel.Tunnel{
		WebSocket:  strings.EqualFold(k.req.Upgrade, "websocket"),
		FromClient: k.takeRead(), FromServer: read,
	}, v)
}

// join tunnels between the client and the upstream of a claim, until both
// have ended or the release's deadline for tunnels ends them. v learns what was
// carried.
func (k *conn) join(cl *claim, up *upstream, t *tunnel.Tunnel, v *verdict) {
	rel := cl.rel
	_ = up.SetKeepAlive(true)
	_ = k.c.SetDeadline(time.Time{})
	t.Client, t.ClientTLS, t.Server, t.Pools, t.Up, t.Down = k.c, k.tls, up.TCPConn, &k.wk.tunnels, &rel.bytesIn, &rel.bytesOut
	f := &flight{tunnel: true, stop: t.End}
	rel.enlist(f)
	defer rel.delist(f)
	sent, got := t.Run()
	v.bytesIn, v.bytesOut = v.bytesIn+int64(sent), v.bytesOut+int64(got)
	if f.kicked.Load() {
		v.why = page.Kicked
	}
}

// takeRead takes what was read of the client and not used, and gives the buffer
// back: a tunnel holds none while nothing moves.
func (k *conn) takeRead() []byte {
	if k.passes != nil {
		return k.passes.Raw
	}
	if k.br == nil {
		return nil
	}
	b := takeBuffered(k.br)
	k.wk.readers.put(k.br)
	k.br = nil
	return b
}

// takeBuffered copies what a reader holds.
func takeBuffered(br *bufio.Reader) []byte {
	b, _ := br.Peek(br.Buffered())
	return bytes.Clone(b)
}
