// Package sni reads a TLS ClientHello (RFC 8446 §4.1.2) as far as it says where
// its client wants to go: the server name (RFC 6066 §3) and the protocols
// offered (ALPN, RFC 7301). It does no cryptography and answers nothing: what
// was read is handed on, to a server that ends TLS or to a tunnel. It must not
// know certificates, routes or services. Its functions keep no state.
package sni

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limit bounds the bytes that a ClientHello may take with its record headers.
const Limit = 16 << 10

// Errors of [Peek] and [Parse]; test them with errors.Is.
var (
	// ErrNotTLS says that the first bytes begin no TLS handshake.
	ErrNotTLS = errors.New("no TLS handshake")
	// ErrMalformed says that the ClientHello cannot be read.
	ErrMalformed = errors.New("malformed ClientHello")
	// ErrTooLong says that the ClientHello goes on after [Limit].
	ErrTooLong = errors.New("ClientHello is longer than 16 KiB")
	// ErrShort says that more bytes are needed.
	ErrShort = errors.New("ClientHello is not whole yet")
)

// Hello is what a ClientHello says.
type Hello struct {
	// ServerName is in lower case, without a final dot; empty when the client
	// names none.
	ServerName string
	// ALPN are the protocols that the client offers, in its order.
	ALPN []string
	// Raw is every byte that was read of the client, also after an error: the
	// ClientHello, and perhaps what follows it.
	Raw []byte
}

// Peek reads from r until the ClientHello is whole. Time is bounded by the
// reader's own deadline, whose error comes back wrapped.
func Peek(r io.Reader) (Hello, error) {
	var h hello
	buf := make([]byte, 0, 2<<10)
	for {
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, min(4*cap(buf), Limit)), buf...)
		}
		n, rerr := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		err := h.feed(buf)
		switch {
		case !errors.Is(err, ErrShort):
			return h.result(buf), err
		case len(buf) == Limit:
			return Hello{Raw: buf}, ErrTooLong
		case errors.Is(rerr, io.EOF):
			return Hello{Raw: buf}, io.ErrUnexpectedEOF
		case rerr != nil:
			return Hello{Raw: buf}, fmt.Errorf("read ClientHello: %w", rerr)
		}
	}
}

// Parse reads a ClientHello out of the first bytes of a connection.
func Parse(b []byte) (Hello, error) {
	var h hello
	err := h.feed(b)
	if errors.Is(err, ErrShort) && len(b) >= Limit {
		err = ErrTooLong
	}
	return h.result(b), err
}

// hello is a ClientHello while it comes.
type hello struct {
	next    int    // where the next record begins
	message []byte // of the records so far
	name    string
	alpn    []string
}

func (h *hello) result(raw []byte) Hello {
	return Hello{ServerName: h.name, ALPN: h.alpn, Raw: raw}
}

const (
	recordHandshake = 22
	clientHello     = 1
	maxRecord       = 1 << 14
)

// feed takes the connection's bytes so far, of which it has seen the first.
func (h *hello) feed(b []byte) error {
	for {
		if err := h.whole(); !errors.Is(err, ErrShort) {
			return err
		}
		n, err := record(b[h.next:])
		if len(h.message) == 0 && len(b) > 5 && b[5] != clientHello {
			return ErrNotTLS
		}
		if err != nil {
			return err
		}
		h.message = append(h.message, b[h.next+5:h.next+5+n]...)
		h.next += 5 + n
	}
}

// record returns the length of the handshake record that b begins with.
func record(b []byte) (int, error) {
	if len(b) > 0 && b[0] != recordHandshake || len(b) > 1 && b[1] != 3 {
		return 0, ErrNotTLS
	}
	if len(b) < 5 {
		return 0, ErrShort
	}
	n := int(b[3])<<8 | int(b[4])
	if n == 0 || n > maxRecord {
		return 0, fmt.Errorf("%w: record of %d bytes", ErrMalformed, n)
	}
	if len(b) < 5+n {
		return 0, ErrShort
	}
	return n, nil
}

// whole parses the message once all of it is there.
func (h *hello) whole() error {
	m := h.message
	switch {
	case len(m) < 4:
		return ErrShort
	}
	n := int(m[1])<<16 | int(m[2])<<8 | int(m[3])
	switch {
	case n > Limit-9:
		return ErrTooLong
	case len(m) < 4+n:
		return ErrShort
	}
	if !h.parse(m[4 : 4+n]) {
		h.name, h.alpn = "", nil
		return ErrMalformed
	}
	return nil
}

// parse goes over version, random, session, cipher suites and compression.
func (h *hello) parse(body cursor) bool {
	var skipped, extensions cursor
	if !body.skip(2+32) || !body.vector8(&skipped) || !body.vector16(&skipped) || !body.vector8(&skipped) {
		return false
	}
	if len(body) == 0 {
		return true // TLS 1.2 knows hellos without extensions
	}
	return body.vector16(&extensions) && len(body) == 0 && h.extensions(extensions)
}

// Extension types.
const (
	extServerName = 0
	extALPN       = 16
)

func (h *hello) extensions(b cursor) bool {
	var name, alpn bool
	for len(b) > 0 {
		var data cursor
		kind, ok := b.uint16()
		if !ok || !b.vector16(&data) {
			return false
		}
		switch kind {
		case extServerName:
			ok, name = !name && h.serverNames(data), true
		case extALPN:
			ok, alpn = !alpn && h.protocols(data), true
		}
		if !ok {
			return false
		}
	}
	return true
}

// serverNames takes the one host name of a list.
func (h *hello) serverNames(b cursor) bool {
	var list, name cursor
	if !b.vector16(&list) || len(b) != 0 || len(list) == 0 {
		return false
	}
	seen := false
	for len(list) > 0 {
		kind, ok := list.uint8()
		if !ok || !list.vector16(&name) || len(name) == 0 {
			return false
		}
		if kind != 0 { // no type but host_name is defined
			continue
		}
		if seen || !nameLike(name) {
			return false
		}
		seen = true
		h.name = strings.ToLower(strings.TrimSuffix(string(name), "."))
	}
	return true
}

// nameLike keeps what is surely no host name out of logs and lookups.
func nameLike(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(b) <= 255
}

func (h *hello) protocols(b cursor) bool {
	var list, name cursor
	if !b.vector16(&list) || len(b) != 0 || len(list) == 0 {
		return false
	}
	for len(list) > 0 {
		if !list.vector8(&name) || len(name) == 0 {
			return false
		}
		h.alpn = append(h.alpn, string(name))
	}
	return true
}

// cursor is what is left of a message. Its methods report whether there was
// enough.
type cursor []byte

func (c *cursor) skip(n int) bool {
	if len(*c) < n {
		return false
	}
	*c = (*c)[n:]
	return true
}

func (c *cursor) uint8() (int, bool) {
	b := *c
	if !c.skip(1) {
		return 0, false
	}
	return int(b[0]), true
}

func (c *cursor) uint16() (int, bool) {
	b := *c
	if !c.skip(2) {
		return 0, false
	}
	return int(b[0])<<8 | int(b[1]), true
}

// vector8 and vector16 take a vector with a length of one or two bytes.
func (c *cursor) vector8(v *cursor) bool {
	n, ok := c.uint8()
	return ok && c.take(n, v)
}

func (c *cursor) vector16(v *cursor) bool {
	n, ok := c.uint16()
	return ok && c.take(n, v)
}

func (c *cursor) take(n int, v *cursor) bool {
	b := *c
	if !c.skip(n) {
		return false
	}
	*v = b[:n]
	return true
}
