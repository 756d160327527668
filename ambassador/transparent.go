package ambassador

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/internal/traffic"
)

// A tunnel may come to its container from the client's own address. The socket
// for it, which the holder made, is bound to that address; the agent's policy
// routes bring the answers back here. Where any of this is missing, the tunnel
// comes from the host's address, as it would without.

// NotAllowed is an error of an [Opener] that may not make such sockets.
type NotAllowed struct{ Text string }

func (e *NotAllowed) Error() string { return e.Text }

// lostWay is for how long an endpoint is not tried again after answers to
// clients found no way back. A container that has just started may not use its
// address of IPv6 yet.
const lostWay = 5 * time.Second

// way is what an endpoint's present tables say of clients' addresses.
type way struct {
	network, network6 netip.Prefix
	address6          netip.Addr
}

func wayOf(e traffic.Endpoint) *way {
	return &way{network: e.Network, network6: e.Network6, address6: e.Address6}
}

// wayTo is where a client of that address can be led under its own address:
// by the same protocol, and not within the container's network, where answers
// would go to the client past us.
func (e *endpoint) wayTo(client netip.Addr) (netip.Addr, bool) {
	w := e.way.Load()
	if w == nil {
		return netip.Addr{}, false
	}
	to, near := e.key.address, w.network
	if client.Is6() {
		to, near = w.address6, w.network6
	}
	ok := to.IsValid() && near.IsValid() && to.Is4() == client.Is4() && !near.Contains(client)
	return to, ok
}

// lostFor is until when clients of that family are not tried.
func (e *endpoint) lostFor(client netip.Addr) *atomic.Int64 {
	if client.Is6() {
		return &e.lost[1]
	}
	return &e.lost[0]
}

// dialFor connects to the port of a route at an endpoint for a tunnel's client.
// A container that gets a PROXY header expects it from us and not from the
// client.
func (k *conn) dialFor(ep *endpoint, r *traffic.Route) (*upstream, error) {
	if r.ProxyProtocol == 0 {
		if up := k.dialAsClient(ep, r.Port); up != nil {
			return up, nil
		}
	}
	up, err := ep.dialAside(r.Port)
	if err == nil {
		err = k.introduce(up, r.ProxyProtocol)
	}
	if err != nil {
		return nil, err
	}
	return up, nil
}

// dialAsClient connects from the client's address, or returns nil.
func (k *conn) dialAsClient(ep *endpoint, port uint16) *upstream {
	if !k.keepsClient() {
		return nil
	}
	to, ok := ep.wayTo(k.peer)
	lost := ep.lostFor(k.peer)
	if !ok || lost.Load() > time.Now().UnixNano() || isLocal(k.peer) {
		return nil
	}
	s, err := k.wk.spares.take(k.wk.opt.Opener, k.peer.Is6())
	if err != nil {
		return nil
	}
	c, err := connectFrom(s, k.peer, netip.AddrPortFrom(to, port))
	if err == nil {
		if ep.keep(c) != nil {
			return nil
		}
		return &upstream{TCPConn: c, pool: ep.pool(port), used: time.Now(), idle: maxIdle}
	}
	if cause(err) == timedOut {
		lost.Store(time.Now().Add(lostWay).UnixNano())
		k.wk.log.Warn("no way back for a client's address, its tunnels come from the host's", "client", k.peer, "to", to, "port", port)
		k.wk.changed.fire()
	}
	return nil
}

// dialAside is dial on a stack of its own: a deep one would stay with a
// connection that may last for days.
func (e *endpoint) dialAside(port uint16) (up *upstream, err error) {
	var done sync.WaitGroup
	done.Go(func() { up, err = e.dial(port) })
	done.Wait()
	return up, err
}

// keepsClient says whether the listener wants clients' addresses kept.
func (k *conn) keepsClient() bool {
	lv := k.wk.view.Load().listeners[k.key]
	return lv != nil && lv.spec.KeepClient && k.key.Namespace == "" && k.peer.IsValid() && !k.peer.IsLoopback()
}

// isLocal says whether the address is one of this host's.
func isLocal(a netip.Addr) bool {
	family := unix.AF_INET
	if a.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return true
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	return unix.Bind(fd, sockaddr(netip.AddrPortFrom(a, 0))) == nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// connectFrom connects a socket that the holder made from a client's address,
// at any free port. It takes the socket over.
func connectFrom(s *os.File, client netip.Addr, to netip.AddrPort) (*net.TCPConn, error) {
	defer s.Close() //nolint:errcheck // the connection is a duplicate
	if err := s.SetWriteDeadline(time.Now().Add(secondDial)); err != nil {
		return nil, fmt.Errorf("connect from %s to %s: %w", client, to, err)
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("connect from %s to %s: %w", client, to, err)
	}
	a := attempt{client: client, to: to}
	if werr := raw.Write(a.step); werr != nil {
		a.err = werr
	}
	if a.err != nil {
		return nil, fmt.Errorf("connect from %s to %s: %w", client, to, a.err)
	}
	c, err := net.FileConn(s)
	if err != nil {
		return nil, fmt.Errorf("connect from %s to %s: %w", client, to, err)
	}
	return c.(*net.TCPConn), nil // the holder makes no other
}

// attempt is a connect under way.
type attempt struct {
	client netip.Addr
	to     netip.AddrPort
	begun  bool
	err    error
}

// step begins the connect and says whether it has ended.
func (a *attempt) step(fd uintptr) bool {
	if !a.begun {
		a.begun = true
		// The port is chosen at the connect, which knows both ends.
		_ = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		if a.err = unix.Bind(int(fd), sockaddr(netip.AddrPortFrom(a.client, 0))); a.err != nil {
			return true
		}
		if err := unix.Connect(int(fd), sockaddr(a.to)); !errors.Is(err, unix.EINPROGRESS) {
			a.err = err
			return true
		}
	}
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	if n, err := unix.Poll(p, 0); n == 0 && err == nil || errors.Is(err, unix.EINTR) {
		return false
	}
	if code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR); err != nil {
		a.err = err
	} else if code != 0 {
		a.err = unix.Errno(code)
	}
	return true
}

// spares are sockets that the holder made. They are asked for in batches.
type spares struct {
	families [2]spareFamily // IPv4, IPv6
	refusal  atomic.Pointer[NotAllowed]
}

type spareFamily struct {
	asking sync.Mutex // held while the holder is asked
	mu     sync.Mutex
	free   []*os.File
}

// sparesWait is how long a tunnel waits for the holder.
const sparesWait = time.Second

// take returns a socket, asked for now if there is none.
func (s *spares) take(o Opener, v6 bool) (*os.File, error) {
	f := &s.families[0]
	if v6 {
		f = &s.families[1]
	}
	if file := f.pop(); file != nil {
		return file, nil
	}
	f.asking.Lock()
	defer f.asking.Unlock()
	if file := f.pop(); file != nil {
		return file, nil
	}
	if no := s.refusal.Load(); no != nil {
		return nil, no
	}
	ctx, cancel := context.WithTimeout(context.Background(), sparesWait)
	defer cancel()
	files, err := o.Sockets(ctx, v6)
	if no, ok := errors.AsType[*NotAllowed](err); ok {
		s.refusal.Store(no)
	}
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.free = append(f.free, files...)
	f.mu.Unlock()
	if file := f.pop(); file != nil {
		return file, nil
	}
	return nil, errors.New("the holder sent no socket")
}

func (f *spareFamily) pop() *os.File {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.free)
	if n == 0 {
		return nil
	}
	file := f.free[n-1]
	f.free[n-1] = nil
	f.free = f.free[:n-1]
	return file
}

// put keeps a socket that was not used.
func (f *spareFamily) put(file *os.File) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.free = append(f.free, file)
}

func (s *spares) close() {
	for i := range s.families {
		for file := s.families[i].pop(); file != nil; file = s.families[i].pop() {
			_ = file.Close()
		}
	}
}

// probe finds out whether there are such sockets, before the first client.
func (s *spares) probe(o Opener) {
	if file, err := s.take(o, false); err == nil {
		s.families[0].put(file)
	}
}

// keepsClients says whether a listener of the view wants such sockets.
func (v *view) keepsClients() bool {
	for _, lv := range v.listeners {
		if lv.spec.KeepClient {
			return true
		}
	}
	return false
}

// warnings are the listeners whose tunnels do not come from their clients'
// addresses although they should.
func (wk *Worker) warnings(v *view) (out []traffic.ListenWarning) {
	const text = "containers see the host's address instead of their clients' on tunnels of port %d: %s"
	no := wk.spares.refusal.Load()
	for i := range v.table.Listeners {
		l := &v.table.Listeners[i]
		switch {
		case !l.KeepClient:
		case no != nil:
			out = append(out, traffic.ListenWarning{ListenerKey: l.ListenerKey, Owner: l.Owner, Text: fmt.Sprintf(text, l.Port, no.Text+"; grant it, or set proxy_protocol")})
		case v.lostWay(l):
			out = append(out, traffic.ListenWarning{ListenerKey: l.ListenerKey, Owner: l.Owner, Text: fmt.Sprintf(text, l.Port, "answers to clients do not come back here; look at the host's policy routes (ip rule)")})
		}
	}
	return out
}

// lostWay says that an endpoint behind the listener found no way back lately.
func (v *view) lostWay(l *traffic.Listener) bool {
	now := time.Now().UnixNano()
	for _, r := range l.Routes {
		sv := v.services[r.Service]
		if sv == nil {
			continue
		}
		for _, rv := range sv.releases {
			for _, ev := range rv.endpoints {
				if ev.ep.lost[0].Load() > now || ev.ep.lost[1].Load() > now {
					return true
				}
			}
		}
	}
	return false
}
