package sni

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/iotest"
	"time"
)

// clientHelloOf is the first flight of Go's own client.
func clientHelloOf(t testing.TB, cfg *tls.Config) []byte {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tls.Client(far, cfg).Handshake()
	}()
	_ = near.SetReadDeadline(time.Now().Add(10 * time.Second))
	head := make([]byte, 5)
	if _, err := io.ReadFull(near, head); err != nil {
		t.Fatal(err)
	}
	rest := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(near, rest); err != nil {
		t.Fatal(err)
	}
	_ = near.Close()
	<-done
	return append(head, rest...)
}

// fragmented cuts the message of a one-record hello into records of n bytes.
func fragmented(raw []byte, n int) []byte {
	var out []byte
	for part := range slices.Chunk(raw[5:], n) {
		out = append(out, raw[0], raw[1], raw[2], byte(len(part)>>8), byte(len(part)))
		out = append(out, part...)
	}
	return out
}

func TestPeek(t *testing.T) {
	for name, cfg := range map[string]*tls.Config{
		"name and protocols": {ServerName: "Shop.Example.com", NextProtos: []string{"h2", "http/1.1"}},
		"no name":            {InsecureSkipVerify: true},
		"TLS 1.2":            {ServerName: "shop.example.com", MaxVersion: tls.VersionTLS12, NextProtos: []string{"acme-tls/1"}},
	} {
		t.Run(name, func(t *testing.T) {
			raw := clientHelloOf(t, cfg)
			for form, b := range map[string][]byte{"whole": raw, "fragments": fragmented(raw, 7)} {
				after := append(slices.Clone(b), "early data"...)
				for way, r := range map[string]io.Reader{
					"at once": bytes.NewReader(after), "byte by byte": iotest.OneByteReader(bytes.NewReader(after)),
				} {
					h, err := Peek(r)
					if err != nil {
						t.Fatalf("%s, %s: %v", form, way, err)
					}
					want := ""
					if cfg.ServerName != "" {
						want = "shop.example.com"
					}
					if h.ServerName != want || !slices.Equal(h.ALPN, cfg.NextProtos) {
						t.Errorf("%s, %s: got %q, %v", form, way, h.ServerName, h.ALPN)
					}
					rest, _ := io.ReadAll(r)
					if got := append(h.Raw, rest...); !bytes.Equal(got, after) {
						t.Errorf("%s, %s: bytes were lost or added", form, way)
					}
				}
			}
		})
	}
}

func TestPeekRefuses(t *testing.T) {
	raw := clientHelloOf(t, &tls.Config{ServerName: "a.example"})
	long := slices.Clone(raw)
	long[6] = 1 // the message says 64 KiB
	server := slices.Clone(raw)
	server[5] = 2 // a ServerHello
	truncated := slices.Clone(raw)
	truncated[len(truncated)-1]++ // the last extension's content is not looked at
	padded := fragmented(raw, 1)
	for name, c := range map[string]struct {
		in   []byte
		want error
	}{
		"HTTP":              {[]byte("GET / HTTP/1.1\r\n"), ErrNotTLS},
		"SSH":               {[]byte("SSH-2.0-x\r\n"), ErrNotTLS},
		"one byte":          {[]byte("S"), ErrNotTLS},
		"SSLv2":             {[]byte{0x80, 0x2e, 1, 3, 1}, ErrNotTLS},
		"alert":             {[]byte{21, 3, 1, 0, 2, 1, 0}, ErrNotTLS},
		"empty record":      {[]byte{22, 3, 1, 0, 0}, ErrMalformed},
		"long record":       {[]byte{22, 3, 1, 0x40, 1}, ErrMalformed},
		"too long":          {long, ErrTooLong},
		"server's":          {server, ErrNotTLS},
		"ends early":        {raw[:len(raw)-1], io.ErrUnexpectedEOF},
		"nothing":           {nil, io.ErrUnexpectedEOF},
		"records of a byte": {padded, nil},
		"other extension":   {truncated, nil},
		"endless":           {bytes.Repeat([]byte{22, 3, 1, 0, 1, 1}, Limit/6+1), ErrTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := Peek(bytes.NewReader(c.in))
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if !bytes.HasPrefix(c.in, h.Raw) {
				t.Error("what was read is not handed back")
			}
		})
	}
}

func TestPeekPassesTimeoutsOn(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	_ = near.SetReadDeadline(time.Now().Add(-time.Second))
	_, err := Peek(near)
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("got %v, want a time-out", err)
	}
}

// FuzzParse: the parser never reads a hello otherwise than crypto/tls does,
// and how the bytes come makes no difference.
func FuzzParse(f *testing.F) {
	raw := clientHelloOf(f, &tls.Config{ServerName: "a.example", NextProtos: []string{"h2"}})
	f.Add(raw)
	f.Add(fragmented(raw, 100))
	f.Add(clientHelloOf(f, &tls.Config{ServerName: "b.example", MaxVersion: tls.VersionTLS12}))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := Parse(b)
		slow, serr := Peek(iotest.OneByteReader(bytes.NewReader(b)))
		if (err == nil) != (serr == nil) || err == nil && (slow.ServerName != h.ServerName || !slices.Equal(slow.ALPN, h.ALPN)) {
			t.Fatalf("at once %v, %v; byte by byte %v, %v", h, err, slow, serr)
		}
		theirs := accepted(b)
		if theirs == nil {
			return
		}
		if err != nil {
			if errors.Is(err, ErrTooLong) || !nameLike([]byte(theirs.ServerName)) {
				return
			}
			t.Fatalf("crypto/tls reads %q, we say %v", theirs.ServerName, err)
		}
		if !bytes.EqualFold([]byte(theirs.ServerName), []byte(h.ServerName)) || !slices.Equal(theirs.SupportedProtos, h.ALPN) {
			t.Fatalf("crypto/tls reads %q %v, we %q %v", theirs.ServerName, theirs.SupportedProtos, h.ServerName, h.ALPN)
		}
	})
}

// accepted is what crypto/tls makes of the bytes, or nil.
func accepted(b []byte) (info *tls.ClientHelloInfo) {
	c := &script{r: bytes.NewReader(b)}
	_ = tls.Server(c, &tls.Config{GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
		info = i
		return nil, errors.New("seen")
	}}).Handshake()
	return info
}

// script is a connection that only says what it was given.
type script struct {
	net.Conn
	r io.Reader
}

func (s *script) Read(b []byte) (int, error)  { return s.r.Read(b) }
func (s *script) Write(b []byte) (int, error) { return len(b), nil }
func (s *script) Close() error                { return nil }
