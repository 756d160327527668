// Package proxyproto reads and writes the PROXY protocol, versions 1 and 2: the
// line or block by which one proxy tells the next who the client is
// (https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt). Who is believed
// is for others to decide. Its functions keep no state; [Read] must be the only
// reader of its connection.
package proxyproto

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Limit bounds a header of version 2 with all its TLVs, in bytes.
const Limit = 4 << 10

// Errors of [Parse] and [Read]; test them with errors.Is.
var (
	// ErrNone says that the connection begins with no PROXY header.
	ErrNone = errors.New("no PROXY protocol header")
	// ErrMalformed says that the header cannot be read.
	ErrMalformed = errors.New("malformed PROXY protocol header")
	// ErrShort says that more bytes are needed.
	ErrShort = errors.New("PROXY protocol header is not whole yet")
)

// Header is what a header says.
type Header struct {
	// Version is 1 or 2.
	Version int
	// Source is the client and Destination what it connected to. They are the
	// zero AddrPort when the sender speaks for itself (LOCAL, UNKNOWN) or for
	// something that is no TCP over IP.
	Source, Destination netip.AddrPort
}

// Parse reads the header that b begins with and returns its length.
func Parse(b []byte) (Header, int, error) {
	switch {
	case begins(b, signature):
		return parseBinary(b)
	case begins(b, word):
		return parseLine(b)
	}
	return Header{}, 0, ErrNone
}

// begins says that b begins with s, or may when more of it comes.
func begins(b []byte, s string) bool {
	n := min(len(b), len(s))
	return string(b[:n]) == s[:n]
}

// Append appends a header of the version for a client and what it connected
// to. Where one of the addresses is missing, it says that nothing is known.
func Append(b []byte, version int, source, destination netip.AddrPort) []byte {
	if version == 1 {
		return appendLine(b, source, destination)
	}
	return appendBinary(b, source, destination)
}

// family makes both addresses IPv4, or both IPv6.
func family(source, destination netip.AddrPort) (s, d netip.AddrPort, v4 bool) {
	a, b := source.Addr().Unmap().WithZone(""), destination.Addr().Unmap().WithZone("")
	if v4 = a.Is4() && b.Is4(); !v4 {
		a, b = netip.AddrFrom16(a.As16()), netip.AddrFrom16(b.As16())
	}
	return netip.AddrPortFrom(a, source.Port()), netip.AddrPortFrom(b, destination.Port()), v4
}

// Read takes the header off a connection and not a byte more, so that the
// connection stays one that can be spliced. It waits until the connection's
// read deadline; io.ErrUnexpectedEOF is an end within the header.
func Read(c syscall.RawConn) (Header, error) {
	buf, have := make([]byte, 256), 0
	for {
		n, err := receive(c, buf[have:], unix.MSG_PEEK)
		if err != nil {
			return Header{}, err
		}
		h, whole, err := Parse(buf[:have+n])
		switch {
		case err == nil:
			n = whole - have
		case !errors.Is(err, ErrShort):
			return Header{}, err
		}
		// While the header is not whole, all that came is a part of it.
		if _, rerr := receive(c, buf[have:have+n], 0); rerr != nil || err == nil {
			return h, rerr
		}
		if have += n; have == len(buf) {
			buf = append(buf, make([]byte, Limit-have)...)
		}
	}
}

// receive waits for bytes. What was peeked is there at once, and whole.
func receive(c syscall.RawConn, b []byte, flags int) (n int, err error) {
	rerr := c.Read(func(fd uintptr) bool {
		for {
			if n, _, err = unix.Recvfrom(int(fd), b, flags|unix.MSG_DONTWAIT); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		return !errors.Is(err, unix.EAGAIN)
	})
	switch {
	case rerr != nil:
		return 0, fmt.Errorf("read PROXY protocol header: %w", rerr)
	case err != nil:
		return 0, fmt.Errorf("read PROXY protocol header: %w", err)
	case n == 0:
		return 0, io.ErrUnexpectedEOF
	}
	return n, nil
}
