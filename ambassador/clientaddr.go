package ambassador

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// clientKey is what limits count by: an IPv4 address, or the /64 that one IPv6
// client has to itself.
type clientKey struct {
	net uint64
	v4  bool
}

// keyOfClient returns an address's key.
func keyOfClient(a netip.Addr) clientKey {
	a = a.Unmap()
	if a.Is4() {
		b := a.As4()
		return clientKey{net: uint64(binary.BigEndian.Uint32(b[:])), v4: true}
	}
	b := a.As16()
	return clientKey{net: binary.BigEndian.Uint64(b[:8])}
}

// mixed spreads a key over all bits (splitmix64).
func (c clientKey) mixed(seed uint64) uint64 {
	n := c.net ^ seed
	if c.v4 {
		n = ^n
	}
	return mix64(n)
}

func mix64(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// findClient makes client the address that the peer speaks for, where the peer
// is trusted: the last one in X-Forwarded-For that no trusted proxy has. What
// stands before it is the client's own word.
func (w *want) findClient() {
	if w.tunnel || len(w.view.table.TrustedProxies) == 0 {
		return
	}
	for i := 0; ; i++ {
		line := w.by.fieldFromEnd("x-forwarded-for", i)
		if line == nil {
			return
		}
		for len(line) > 0 && w.view.trusts(w.client) {
			rest, last := cutLast(line)
			line = rest
			addr, ok := parseForwarded(last)
			if !ok {
				return
			}
			w.client = addr
		}
		if !w.view.trusts(w.client) {
			return
		}
	}
}

// cutLast cuts the last member off a list with commas.
func cutLast(line []byte) (rest, last []byte) {
	i := bytes.LastIndexByte(line, ',')
	if i < 0 {
		return nil, bytes.TrimSpace(line)
	}
	return line[:i], bytes.TrimSpace(line[i+1:])
}

// parseForwarded reads an address as proxies write it: also with a port, and
// IPv6 in brackets. IPv4 costs no allocation.
func parseForwarded(b []byte) (netip.Addr, bool) {
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 {
			return netip.Addr{}, false
		}
		b = b[1:end]
	} else if i := bytes.IndexByte(b, ':'); i >= 0 && bytes.IndexByte(b[i+1:], ':') < 0 {
		b = b[:i]
	}
	if a, ok := parseIPv4(b); ok {
		return a, true
	}
	if len(b) > 45 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(string(b))
	return a.Unmap().WithZone(""), err == nil
}

func parseIPv4(b []byte) (netip.Addr, bool) {
	var out [4]byte
	for i := range out {
		part := b
		if i < 3 {
			dot := bytes.IndexByte(b, '.')
			if dot < 0 {
				return netip.Addr{}, false
			}
			part, b = b[:dot], b[dot+1:]
		}
		n, ok := parseOctet(part)
		if !ok {
			return netip.Addr{}, false
		}
		out[i] = n
	}
	return netip.AddrFrom4(out), true
}

func parseOctet(b []byte) (byte, bool) {
	if len(b) == 0 || len(b) > 3 || len(b) > 1 && b[0] == '0' {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return byte(n), n <= 255
}
