package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"strings"
	"testing"
	"testing/iotest"
)

// FuzzResponse demands that a response that we pass on means the same to Go:
// its status, its length, and as many fields of each name.
func FuzzResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"), "GET")
	f.Fuzz(func(t *testing.T, raw []byte, method string) {
		if method != "GET" && method != "HEAD" {
			return
		}
		var r Response
		if r.Read(bufio.NewReaderSize(bytes.NewReader(raw), MaxHead), method) != nil || r.Status < 200 {
			return
		}
		d := Delivery{Minor: 1, KeepAlive: r.Length != UntilClose, Chunked: r.Length == -1}
		out := AppendResponse(nil, &r, d)
		got, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(out)), &http.Request{Method: method})
		if err != nil {
			if strings.Contains(err.Error(), "bad trailer key") || strings.Contains(err.Error(), "invalid header") {
				return // Go refuses to hear such trailers announced
			}
			t.Fatalf("we sent on what Go refuses: %v\n%q", err, out)
		}
		defer got.Body.Close()
		length := r.Length
		if length == UntilClose {
			length = -1
		}
		if got.StatusCode != r.Status || method == "GET" && r.Status != 304 && got.ContentLength != length {
			t.Fatalf("status %d length %d became %d %d: %q", r.Status, r.Length, got.StatusCode, got.ContentLength, out)
		}
		for _, name := range []string{"Set-Cookie", "Location", "X-Test"} {
			n := 0
			for _, fd := range r.Fields {
				if strings.EqualFold(string(fd.Name), name) && !isListed(connectionLists(r.Fields), fd.Name) {
					n++
				}
			}
			if got := len(got.Header.Values(name)); got != n {
				t.Fatalf("%d fields %s became %d: %q", n, name, got, out)
			}
		}
	})
}

// FuzzFields demands that fields that we accept are those that Go reads.
func FuzzFields(f *testing.F) {
	f.Add([]byte("A: b\r\nC:d\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = append(bytes.Clone(raw), "\r\n\r\n"...)
		fields, err := parseFields(nil, raw)
		if err != nil {
			return
		}
		want, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(raw))).ReadMIMEHeader()
		if err != nil {
			t.Fatalf("we accept what Go refuses: %v\n%q", err, raw)
		}
		n := 0
		for _, values := range want {
			n += len(values)
		}
		if n != len(fields) {
			t.Fatalf("%d fields, Go reads %d: %q", len(fields), n, raw)
		}
		for _, fd := range fields {
			values := want.Values(string(fd.Name))
			found := false
			for _, v := range values {
				found = found || v == string(fd.Value)
			}
			if !found {
				t.Fatalf("%q: Go reads %q", fd, values)
			}
		}
	})
}

// FuzzChunks demands that a chunked body that we accept is what Go reads, framed
// as it came and as we frame it; that trailers which go on are few and safe; and
// that a body that says it is ready is.
func FuzzChunks(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\n"), uint8(3))
	f.Fuzz(func(t *testing.T, raw []byte, piece uint8) {
		var b Body
		src := &ending{r: iotest.HalfReader(bytes.NewReader(raw))}
		b.Reset(bufio.NewReaderSize(src, 4096), -1)
		var body, framed []byte
		buf := make([]byte, ChunkRoom+int(piece)+1+ChunkAfter)
		for {
			ready, reads := b.Ready(), src.reads
			n, err := b.Read(buf[ChunkRoom : len(buf)-ChunkAfter])
			if ready && src.reads != reads {
				t.Fatalf("said to be ready, but read on: %q", raw)
			}
			body = append(body, buf[ChunkRoom:ChunkRoom+n]...)
			if n > 0 {
				framed = append(framed, FrameChunk(buf, n)...)
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return
			}
		}
		framed = b.AppendLast(framed)
		for _, wire := range [][]byte{raw, framed} {
			got, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(wire)))
			if err != nil || !bytes.Equal(got, body) {
				t.Fatalf("Go reads %q, %v; we %q from %q", got, err, body, wire)
			}
		}
		_, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(append(bytes.Clone(b.trailer), "\r\n"...)))).ReadMIMEHeader()
		if err != nil {
			t.Fatalf("trailers %q: %v", b.trailer, err)
		}
	})
}

// ending counts reads.
type ending struct {
	r     io.Reader
	reads int
}

func (e *ending) Read(b []byte) (int, error) {
	e.reads++
	return e.r.Read(b)
}
