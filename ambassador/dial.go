package ambassador

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// Local dials are bounded: an address nobody has any more would otherwise
// take 3 s to fail. A first attempt that takes long is given up for a second
// one, since the kernel would repeat a lost SYN only after 1 s.
const (
	firstDial  = 100 * time.Millisecond
	secondDial = 300 * time.Millisecond
)

// dialTwice connects to an address. It starts no goroutine.
func dialTwice(addr netip.AddrPort) (*net.TCPConn, error) {
	c, err := dialFor(addr, firstDial)
	if err != nil && cause(err) == timedOut {
		c, err = dialFor(addr, secondDial)
	}
	return c, err
}

func dialFor(addr netip.AddrPort, d time.Duration) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	c, err := (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil // "tcp" makes no other
}
