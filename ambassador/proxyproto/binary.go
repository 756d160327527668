package proxyproto

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
)

// Version 2 is a block: the signature, version and command, family and
// transport, the length of what follows, addresses, TLVs.
const (
	signature = "\r\n\r\n\x00\r\nQUIT\n"
	fixed     = len(signature) + 4

	local   = 0x20 // version and command
	proxied = 0x21
	stream4 = 0x11 // family and transport
	stream6 = 0x21

	typeCRC32C = 0x03
)

func parseBinary(b []byte) (Header, int, error) {
	if len(b) < fixed {
		return Header{}, 0, ErrShort
	}
	command, n := b[len(signature)], fixed+int(binary.BigEndian.Uint16(b[fixed-2:]))
	switch {
	case command != local && command != proxied:
		return Header{}, 0, fmt.Errorf("%w: version and command are %#x", ErrMalformed, command)
	case n > Limit:
		return Header{}, 0, fmt.Errorf("%w: %d bytes, more than %d", ErrMalformed, n, Limit)
	case len(b) < n:
		return Header{}, 0, ErrShort
	}
	h := Header{Version: 2}
	if command == local {
		return h, n, nil // what it says of addresses is to be ignored
	}
	if err := h.addresses(b[:n]); err != nil {
		return Header{}, 0, err
	}
	return h, n, nil
}

// addresses reads a whole block of the command PROXY.
func (h *Header) addresses(b []byte) error {
	size, want := 0, 0
	switch b[len(signature)+1] {
	case stream4:
		size, want = 4, 12
	case stream6:
		size, want = 16, 36
	default:
		return nil // not TCP over IP: nothing is said that we could use
	}
	rest := b[fixed:]
	if len(rest) < want {
		return fmt.Errorf("%w: no room for addresses", ErrMalformed)
	}
	at := func(i int) netip.AddrPort {
		a, _ := netip.AddrFromSlice(rest[i*size : (i+1)*size])
		return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(rest[2*size+2*i:]))
	}
	h.Source, h.Destination = at(0), at(1)
	return checkTLVs(b, fixed+want)
}

// checkTLVs goes over what follows the addresses. All of it is skipped but the
// checksum.
func checkTLVs(b []byte, i int) error {
	summed := false
	for i < len(b) {
		if len(b)-i < 3 {
			return fmt.Errorf("%w: a TLV is cut off", ErrMalformed)
		}
		kind, n := b[i], int(binary.BigEndian.Uint16(b[i+1:]))
		if i += 3; len(b)-i < n {
			return fmt.Errorf("%w: a TLV is cut off", ErrMalformed)
		}
		if kind == typeCRC32C {
			if n != 4 || summed || !sumsUp(b, i) {
				return fmt.Errorf("%w: the checksum is wrong", ErrMalformed)
			}
			summed = true
		}
		i += n
	}
	return nil
}

// sumsUp says whether the checksum at i is that of the block with zeros there.
func sumsUp(b []byte, i int) bool {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, b[:i])
	sum = crc32.Update(sum, table, make([]byte, 4))
	sum = crc32.Update(sum, table, b[i+4:])
	return sum == binary.BigEndian.Uint32(b[i:])
}

func appendBinary(b []byte, source, destination netip.AddrPort) []byte {
	b = append(b, signature...)
	if !source.IsValid() || !destination.IsValid() {
		return append(b, local, 0, 0, 0)
	}
	s, d, v4 := family(source, destination)
	if v4 {
		b = append(b, proxied, stream4, 0, 12)
	} else {
		b = append(b, proxied, stream6, 0, 36)
	}
	b = append(append(b, s.Addr().AsSlice()...), d.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, s.Port())
	return binary.BigEndian.AppendUint16(b, d.Port())
}
