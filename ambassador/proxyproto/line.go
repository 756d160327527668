package proxyproto

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Version 1 is a line of text.
const (
	word = "PROXY "
	// maxLine is the longest line with its CRLF that the protocol knows.
	maxLine = 107
)

func parseLine(b []byte) (Header, int, error) {
	end := bytes.Index(b[:min(len(b), maxLine)], []byte("\r\n"))
	switch {
	case end < 0 && len(b) < maxLine:
		return Header{}, 0, ErrShort
	case end < 0:
		return Header{}, 0, fmt.Errorf("%w: line without an end", ErrMalformed)
	}
	h := Header{Version: 1}
	line := string(b[len(word):end])
	if line == "UNKNOWN" || strings.HasPrefix(line, "UNKNOWN ") {
		return h, end + 2, nil
	}
	var ok bool
	f := strings.Split(line, " ")
	if len(f) == 5 {
		h.Source, ok = pairOf(f[0], f[1], f[3])
	}
	if ok {
		h.Destination, ok = pairOf(f[0], f[2], f[4])
	}
	if !ok {
		return Header{}, 0, fmt.Errorf("%w: %q", ErrMalformed, line)
	}
	return h, end + 2, nil
}

// pairOf reads an address and a port of a line.
func pairOf(family, addr, port string) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(addr)
	n, perr := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || a.Zone() != "":
		return netip.AddrPort{}, false
	case perr != nil || port != strconv.FormatUint(n, 10): // no sign, no leading zero
		return netip.AddrPort{}, false
	case family == "TCP4" && a.Is4(), family == "TCP6" && a.Is6():
		return netip.AddrPortFrom(a.Unmap(), uint16(n)), true
	}
	return netip.AddrPort{}, false
}

func appendLine(b []byte, source, destination netip.AddrPort) []byte {
	b = append(b, word...)
	if !source.IsValid() || !destination.IsValid() {
		return append(b, "UNKNOWN\r\n"...)
	}
	s, d, v4 := family(source, destination)
	if v4 {
		b = append(b, "TCP4 "...)
	} else {
		b = append(b, "TCP6 "...)
	}
	b = append(s.Addr().AppendTo(b), ' ')
	b = append(d.Addr().AppendTo(b), ' ')
	b = strconv.AppendUint(b, uint64(s.Port()), 10)
	b = strconv.AppendUint(append(b, ' '), uint64(d.Port()), 10)
	return append(b, "\r\n"...)
}
