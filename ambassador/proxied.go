package ambassador

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/remorahq/remora/ambassador/proxyproto"
)

// believes says whether the listener's peers of that address tell by a PROXY
// header who the client is.
func (lv *listenerView) believes(peer netip.Addr) bool {
	return slices.ContainsFunc(lv.spec.ProxyFrom, func(p netip.Prefix) bool { return p.Contains(peer) })
}

// unwrap takes the PROXY header off the connections of peers that must send
// one; what it says of the client holds from here on. False is the connection's
// end.
func (k *conn) unwrap() bool {
	v := k.wk.view.Load()
	lv := v.listeners[k.key]
	if lv == nil || len(lv.spec.ProxyFrom) == 0 || !lv.believes(k.peer) {
		return true
	}
	_ = k.c.SetReadDeadline(time.Now().Add(v.limits.header))
	h, err := proxyproto.Read(k.raw)
	_ = k.c.SetReadDeadline(time.Time{})
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF): // a health check by connect
		return false
	case err != nil:
		k.wk.log.Warn("proxy protocol: connection refused", "peer", k.peer, "port", k.key.Port, "err", err)
		k.reset()
		return false
	}
	if h.Source.IsValid() {
		k.proxied = &h
		k.peer = h.Source.Addr().Unmap().WithZone("")
	}
	k.arrived = time.Now()
	return true
}

// ends are the client's address and what it connected to, with their ports.
func (k *conn) ends() (source, destination netip.AddrPort) {
	if k.proxied != nil {
		return k.proxied.Source, k.proxied.Destination
	}
	return addrPort(k.c.RemoteAddr()), addrPort(k.c.LocalAddr())
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// introduce sends the PROXY header that the route's container gets first.
func (k *conn) introduce(up *upstream, version int) error {
	if version == 0 {
		return nil
	}
	source, destination := k.ends()
	_ = up.SetWriteDeadline(time.Now().Add(secondDial))
	_, err := up.Write(proxyproto.Append(nil, version, source, destination))
	_ = up.SetWriteDeadline(time.Time{})
	if err != nil {
		up.drop()
		return fmt.Errorf("send PROXY header: %w", err)
	}
	return nil
}
