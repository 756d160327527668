package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ap(s string) netip.AddrPort {
	if s == "" {
		return netip.AddrPort{}
	}
	return netip.MustParseAddrPort(s)
}

// block is a header of version 2.
func block(command, family byte, body ...byte) string {
	b := append([]byte(signature), command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return string(append(b, body...))
}

var (
	v4 = []byte{192, 0, 2, 1, 198, 51, 100, 2, 0x30, 0x39, 0x01, 0xbb}
	v6 = append(append(netip.MustParseAddr("2001:db8::1").AsSlice(), netip.MustParseAddr("2001:db8::2").AsSlice()...), 0x30, 0x39, 0x01, 0xbb)
)

// summed is a block of TCP over IPv4 with a TLV and a checksum.
func summed() string {
	b := []byte(block(proxied, stream4, append(append([]byte{}, v4...), 1, 0, 2, 'h', '2', typeCRC32C, 0, 4, 0, 0, 0, 0)...))
	binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return string(b)
}

var good = []struct {
	name, in    string
	src, dst    string
	writesAlike bool
}{
	{"line v4", "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n", "192.0.2.1:12345", "198.51.100.2:443", true},
	{"line v6", "PROXY TCP6 2001:db8::1 2001:db8::2 12345 443\r\n", "[2001:db8::1]:12345", "[2001:db8::2]:443", true},
	{"line mapped", "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 443\r\n", "192.0.2.1:1", "[2001:db8::2]:443", true},
	{"line unknown", "PROXY UNKNOWN\r\n", "", "", true},
	{"line unknown with more", "PROXY UNKNOWN ffff:f...f:ffff 1 2\r\n", "", "", false},
	{"block v4", block(proxied, stream4, v4...), "192.0.2.1:12345", "198.51.100.2:443", true},
	{"block v6", block(proxied, stream6, v6...), "[2001:db8::1]:12345", "[2001:db8::2]:443", true},
	{"block local", block(local, 0), "", "", true},
	{"block local with more", block(local, stream4, v4...), "", "", false},
	{"block unix", block(proxied, 0x31, make([]byte, 216)...), "", "", false},
	{"block datagram", block(proxied, 0x12, v4...), "", "", false},
	{"block with TLV", block(proxied, stream4, append(append([]byte{}, v4...), 4, 0, 3, 0, 0, 0)...), "192.0.2.1:12345", "198.51.100.2:443", false},
	{"block with checksum", summed(), "192.0.2.1:12345", "198.51.100.2:443", false},
}

func TestParse(t *testing.T) {
	for _, c := range good {
		t.Run(c.name, func(t *testing.T) {
			h, n, err := Parse([]byte(c.in + "rest"))
			if err != nil || n != len(c.in) || h.Source != ap(c.src) || h.Destination != ap(c.dst) {
				t.Fatalf("got %+v, %d of %d bytes, %v", h, n, len(c.in), err)
			}
			for i := range c.in {
				if _, _, err := Parse([]byte(c.in[:i])); !errors.Is(err, ErrShort) {
					t.Fatalf("of %d bytes: %v, want %v", i, err, ErrShort)
				}
			}
			if got := string(Append(nil, h.Version, h.Source, h.Destination)); c.writesAlike && got != c.in {
				t.Errorf("writes %q, reads %q", got, c.in)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	wrong := []byte(summed())
	wrong[fixed]++
	twice := block(proxied, stream4, append(append([]byte{}, v4...), bytes.Repeat([]byte{typeCRC32C, 0, 4, 0, 0, 0, 0}, 2)...)...)
	for name, c := range map[string]struct {
		in   string
		want error
	}{
		"HTTP":                  {"GET / HTTP/1.1\r\n", ErrNone},
		"lower case":            {"proxy TCP4 ", ErrNone},
		"line too long":         {"PROXY UNKNOWN " + strings.Repeat("x", 100) + "\r\n", ErrMalformed},
		"line without CR":       {"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n" + strings.Repeat("x", 90), ErrMalformed},
		"two spaces":            {"PROXY TCP4 192.0.2.1  198.51.100.2 1 2\r\n", ErrMalformed},
		"wrong family":          {"PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n", ErrMalformed},
		"no family":             {"PROXY TCP5 192.0.2.1 198.51.100.2 1 2\r\n", ErrMalformed},
		"zone":                  {"PROXY TCP6 fe80::1%eth0 2001:db8::2 1 2\r\n", ErrMalformed},
		"port too large":        {"PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n", ErrMalformed},
		"port with zero":        {"PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n", ErrMalformed},
		"port with sign":        {"PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n", ErrMalformed},
		"address as a number":   {"PROXY TCP4 3221225985 198.51.100.2 1 2\r\n", ErrMalformed},
		"block version":         {block(0x11, stream4, v4...), ErrMalformed},
		"block command":         {block(0x22, stream4, v4...), ErrMalformed},
		"block too long":        {block(proxied, stream4, make([]byte, Limit)...), ErrMalformed},
		"block too short":       {block(proxied, stream6, v4...), ErrMalformed},
		"TLV cut off":           {block(proxied, stream4, append(append([]byte{}, v4...), 4, 0, 9, 0)...), ErrMalformed},
		"TLV head cut off":      {block(proxied, stream4, append(append([]byte{}, v4...), 4, 0)...), ErrMalformed},
		"wrong checksum":        {string(wrong), ErrMalformed},
		"two checksums":         {twice, ErrMalformed},
		"signature with a typo": {"\r\n\r\n\x00\r\nQUIX\n", ErrNone},
	} {
		t.Run(name, func(t *testing.T) {
			if h, _, err := Parse([]byte(c.in)); !errors.Is(err, c.want) {
				t.Errorf("got %+v, %v; want %v", h, err, c.want)
			}
		})
	}
}

// socket is a connection and what its peer writes to.
func socket(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	far, err = net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	near, err = l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	_ = near.SetReadDeadline(time.Now().Add(10 * time.Second))
	return near, far
}

// Read takes exactly the header, however it comes.
func TestReadLeavesTheRest(t *testing.T) {
	long := block(proxied, stream4, append(append([]byte{}, v4...), append([]byte{4, 3, 0}, make([]byte, 0x300)...)...)...)
	inputs := map[string]string{"long": long}
	for _, c := range good {
		inputs[c.name] = c.in
	}
	for name, in := range inputs {
		for _, step := range []int{1, 5, len(in) + 4} {
			t.Run(name, func(t *testing.T) {
				near, far := socket(t)
				_ = far.SetNoDelay(true)
				go func() {
					b := []byte(in + "rest")
					for len(b) > 0 {
						n := min(step, len(b))
						_, _ = far.Write(b[:n])
						b = b[n:]
					}
					_ = far.CloseWrite()
				}()
				raw, err := near.SyscallConn()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := Read(raw); err != nil {
					t.Fatal(err)
				}
				if rest, err := io.ReadAll(near); err != nil || string(rest) != "rest" {
					t.Errorf("left %q, %v", rest, err)
				}
			})
		}
	}
}

func TestReadEnds(t *testing.T) {
	near, far := socket(t)
	raw, _ := near.SyscallConn()
	_, _ = far.Write([]byte("PROXY TC"))
	_ = near.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := Read(raw); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want a time-out", err)
	}
	near, far = socket(t)
	raw, _ = near.SyscallConn()
	_, _ = far.Write([]byte("PROXY TC"))
	_ = far.CloseWrite()
	if _, err := Read(raw); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want an end", err)
	}
}

// FuzzParse: what is read is written and read the same again; more bytes never
// change a final answer.
func FuzzParse(f *testing.F) {
	for _, c := range good {
		f.Add([]byte(c.in))
	}
	f.Add([]byte("PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := Parse(b)
		if err == nil && (n <= 0 || n > len(b) || n > Limit) {
			t.Fatalf("length %d of %d", n, len(b))
		}
		if !errors.Is(err, ErrShort) {
			again, m, err2 := Parse(append(bytes.Clone(b), "more\r\n"...))
			if again != h || m != n || (err2 == nil) != (err == nil) {
				t.Fatalf("with more bytes %+v %d %v, without %+v %d %v", again, m, err2, h, n, err)
			}
		}
		if err != nil {
			return
		}
		out := Append(nil, h.Version, h.Source, h.Destination)
		back, m, err := Parse(out)
		if err != nil || m != len(out) || back != h {
			t.Fatalf("%+v is written %q and read %+v, %v", h, out, back, err)
		}
	})
}
