package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func reader(s string) *bufio.Reader { return bufio.NewReaderSize(strings.NewReader(s), MaxHead) }

func TestRequestsRefused(t *testing.T) {
	const line = "GET / HTTP/1.1\r\n"
	for name, c := range map[string]struct {
		raw    string
		status int
	}{
		"length_and_chunked":    {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		"two_lengths":           {line + "Host: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
		"same_length_twice":     {line + "Host: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400},
		"length_list":           {line + "Host: x\r\nContent-Length: 1, 1\r\n\r\n", 400},
		"length_plus":           {line + "Host: x\r\nContent-Length: +1\r\n\r\n", 400},
		"length_underscore":     {line + "Host: x\r\nContent-Length: 1_0\r\n\r\n", 400},
		"length_hex":            {line + "Host: x\r\nContent-Length: 0x1\r\n\r\n", 400},
		"length_empty":          {line + "Host: x\r\nContent-Length:\r\n\r\n", 400},
		"length_huge":           {line + "Host: x\r\nContent-Length: 9999999999999999999\r\n\r\n", 400},
		"coding_gzip":           {line + "Host: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
		"coding_twice":          {line + "Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501},
		"coding_xchunked":       {line + "Host: x\r\nTransfer-Encoding: xchunked\r\n\r\n", 501},
		"coding_in_10":          {"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		"folded":                {line + "Host: x\r\nA: b\r\n c\r\n\r\n", 400},
		"space_before_colon":    {line + "Host : x\r\n\r\n", 400},
		"no_name":               {line + "Host: x\r\n: y\r\n\r\n", 400},
		"no_colon":              {line + "Host: x\r\nfoo\r\n\r\n", 400},
		"nul":                   {line + "Host: x\r\nA: b\x00c\r\n\r\n", 400},
		"bare_cr":               {line + "Host: x\r\nA: b\rc\r\n\r\n", 400},
		"bare_lf":               {line + "Host: x\nA: b\r\n\r\n", 400},
		"bare_lf_at_end":        {line + "Host: x\n\n", 400},
		"no_host":               {line + "\r\n", 400},
		"two_hosts":             {line + "Host: x\r\nHost: x\r\n\r\n", 400},
		"host_with_slash":       {line + "Host: x/y\r\n\r\n", 400},
		"host_with_space":       {line + "Host: x y\r\n\r\n", 400},
		"host_with_at":          {line + "Host: a@b\r\n\r\n", 400},
		"absolute_differs":      {"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", 400},
		"absolute_other_scheme": {"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"target_without_slash":  {"GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"target_control":        {"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"method_invalid":        {"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"two_spaces":            {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"version_2":             {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
		"version_lower":         {"GET / http/1.1\r\nHost: a\r\n\r\n", 505},
		"version_12":            {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
		"head_too_long":         {line + "Host: x\r\nA: " + strings.Repeat("a", MaxHead) + "\r\n\r\n", 431},
		"too_many_fields":       {line + "Host: x\r\n" + strings.Repeat("A: b\r\n", MaxFields) + "\r\n", 431},
	} {
		t.Run(name, func(t *testing.T) {
			var r Request
			err := r.Read(reader(c.raw))
			var bad *Error
			if !errors.As(err, &bad) || bad.Status != c.status {
				t.Errorf("got %v, want %d", err, c.status)
			}
		})
	}
}

func TestRequestForwarded(t *testing.T) {
	client := netip.MustParseAddr("192.0.2.7")
	for name, c := range map[string]struct {
		raw, want string
		trusted   bool
	}{
		"plain": {
			raw:  "GET /a?b HTTP/1.1\r\nhost: x\r\nAccept: */*\r\n\r\n",
			want: "GET /a?b HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: x\r\nForwarded: for=192.0.2.7;host=\"x\";proto=http\r\n\r\n",
		},
		"hop_by_hop_and_spoofs": {
			raw:  "POST / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 3\r\nTE: trailers\r\nX-Forwarded-For: 1.1.1.1\r\nX_Forwarded_For: 2.2.2.2\r\nForwarded: for=3\r\nX-Real-IP: 4\r\nProxy-Connection: y\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n",
			want: "POST / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: x\r\nForwarded: for=192.0.2.7;host=\"x\";proto=http\r\nContent-Length: 0\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
		},
		"trusted": {
			trusted: true,
			raw:     "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\n\r\n",
			want:    "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 1.1.1.1, 192.0.2.7\r\nX-Forwarded-Host: x\r\nForwarded: for=192.0.2.7;host=\"x\";proto=http\r\n\r\n",
		},
		"trusted_lists_what_it_set": {
			trusted: true,
			raw:     "GET / HTTP/1.1\r\nHost: x\r\nConnection: X-Forwarded-For, X-Forwarded-Proto\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\n\r\n",
			want:    "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: x\r\nForwarded: for=192.0.2.7;host=\"x\";proto=http\r\n\r\n",
		},
		"proxy_variable": {
			raw:  "GET / HTTP/1.1\r\nHost: x\r\nProxy: http://evil\r\nPriority: u=1\r\n\r\n",
			want: "GET / HTTP/1.1\r\nHost: x\r\nPriority: u=1\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: x\r\nForwarded: for=192.0.2.7;host=\"x\";proto=http\r\n\r\n",
		},
		"mark_of_copies": {
			raw:  "GET / HTTP/1.1\r\nHost: x\r\nremora-mirror: 1\r\n\r\n",
			want: "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: x\r\nForwarded: for=192.0.2.7;host=\"x\";proto=http\r\n\r\n",
		},
		"absolute": {
			raw:  "GET http://X?q HTTP/1.0\r\n\r\n",
			want: "",
		},
		"upgrade": {
			raw:  "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n",
			want: "GET / HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Key: k\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: x\r\nForwarded: for=192.0.2.7;host=\"x\";proto=http\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var r Request
			err := r.Read(reader(c.raw))
			if c.want == "" {
				if err == nil {
					t.Fatal("want it refused")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := string(AppendRequest(nil, &r, Forward{Client: client, Trusted: c.trusted}))
			if diff := cmp.Diff(strings.Split(c.want, "\r\n"), strings.Split(got, "\r\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBodies(t *testing.T) {
	for name, c := range map[string]struct {
		raw    string
		length int64
		want   string
		rest   string
		err    error
	}{
		"length":           {"hello rest", 5, "hello", " rest", nil},
		"length_short":     {"hel", 5, "hel", "", io.ErrUnexpectedEOF},
		"chunked":          {"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nTrailer: x\r\n\r\nrest", -1, "hello world", "rest", nil},
		"chunked_upper":    {"A\r\n0123456789\r\n00\r\n\r\n", -1, "0123456789", "", nil},
		"chunked_cut":      {"5\r\nhello\r\n", -1, "hello", "", io.ErrUnexpectedEOF},
		"chunked_cut_late": {"5\r\nhello\r\n0\r\n", -1, "hello", "", io.ErrUnexpectedEOF},
		"chunk_too_long":   {"3\r\nhello\r\n0\r\n\r\n", -1, "hel", "", &Error{}},
		"chunk_no_size":    {"\r\nhello\r\n", -1, "", "", &Error{}},
		"chunk_minus":      {"-1\r\nhello\r\n", -1, "", "", &Error{}},
		"chunk_0x":         {"0x5\r\nhello\r\n", -1, "", "", &Error{}},
		"chunk_bare_lf":    {"5\nhello\r\n", -1, "", "", &Error{}},
		"chunk_overflow":   {"ffffffffffffffff5\r\nhello\r\n", -1, "", "", &Error{}},
		"trailer_bare_lf":  {"0\r\nA: b\n\r\n", -1, "", "", &Error{}},
		"trailer_empty_lf": {"0\r\n\nGET / HTTP/1.1\r\n\r\n", -1, "", "", &Error{}},
		"until_close":      {"all of it", UntilClose, "all of it", "", nil},
		"none":             {"next", 0, "", "next", nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, oneByte := range []bool{false, true} {
				var src io.Reader = strings.NewReader(c.raw)
				if oneByte {
					src = iotest.OneByteReader(src)
				}
				br := bufio.NewReaderSize(src, 4096)
				var b Body
				b.Reset(br, c.length)
				got, err := io.ReadAll(&b)
				var bad *Error
				if wantBad := errors.As(c.err, &bad); wantBad != errors.As(err, &bad) || !wantBad && !errors.Is(err, c.err) {
					t.Fatalf("got %v, want %v", err, c.err)
				}
				if string(got) != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
				if c.err == nil {
					if rest, _ := io.ReadAll(br); string(rest) != c.rest || !b.Done() {
						t.Errorf("rest %q, want %q; done %v", rest, c.rest, b.Done())
					}
				}
			}
		})
	}
}

func TestResponses(t *testing.T) {
	for name, c := range map[string]struct {
		raw, method string
		want        Response
		bad         bool
	}{
		"length":        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "GET", Response{Status: 200, Length: 3, KeepAlive: true}, false},
		"chunked":       {"HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n", "GET", Response{Status: 200, Length: -1, KeepAlive: true}, false},
		"until_close":   {"HTTP/1.1 200 OK\r\n\r\n", "GET", Response{Status: 200, Length: UntilClose}, false},
		"head":          {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "HEAD", Response{Status: 200, KeepAlive: true}, false},
		"304":           {"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", "GET", Response{Status: 304, KeepAlive: true}, false},
		"close":         {"HTTP/1.1 204 No\r\nConnection: close\r\n\r\n", "GET", Response{Status: 204}, false},
		"events":        {"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=x\r\nContent-Length: 0\r\n\r\n", "GET", Response{Status: 200, KeepAlive: true, Events: true}, false},
		"keep_alive_10": {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", "GET", Response{Status: 200, KeepAlive: true}, false},
		"smuggle":       {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", Response{}, true},
		"reason_cr":     {"HTTP/1.1 200 O\rK\r\n\r\n", "GET", Response{}, true},
		"no_http":       {"220 smtp ready\r\n\r\n", "GET", Response{}, true},
		"status_2x":     {"HTTP/1.1 2x0 OK\r\n\r\n", "GET", Response{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var r Response
			err := r.Read(reader(c.raw), c.method)
			if c.bad {
				if _, ok := errors.AsType[*Error](err); !ok {
					t.Errorf("got %v, want it refused", err)
				}
				return
			}
			if err != nil || r.Status != c.want.Status || r.Length != c.want.Length || r.KeepAlive != c.want.KeepAlive || r.Events != c.want.Events {
				t.Errorf("got %+v, %v; want %+v", r, err, c.want)
			}
		})
	}
}

// Who authenticates a connection is known however it is written, and whatever
// else stands beside it.
func TestPins(t *testing.T) {
	for lines, want := range map[string]bool{
		"Authorization: Negotiate YII=\r\n":                                     true,
		"authorization: ntlm TlR=\r\n":                                          true,
		"Authorization: NTLM\tTlR=\r\n":                                         true,
		"Authorization: NTLM TlR=\r\nAuthorization: Basic YTpi\r\n":             true,
		"Authorization: Basic YTpi\r\n":                                         false,
		"X-Authorization: NTLM TlR=\r\nAuthorization: Negotiated something\r\n": false,
	} {
		var r Request
		if err := r.Read(reader("GET / HTTP/1.1\r\nHost: x\r\n" + lines + "\r\n")); err != nil || r.Pins != want {
			t.Errorf("%q: got %v, %v", lines, r.Pins, err)
		}
		r.Pins = false
		if err := r.Verify(); err != nil || r.Pins != want {
			t.Errorf("%q, verified: got %v, %v", lines, r.Pins, err)
		}
	}
}

// The length that frames a body stays, even if Connection lists it.
func TestListedLengthStays(t *testing.T) {
	var r Response
	if err := r.Read(reader("HTTP/1.1 200 OK\r\nConnection: Content-Length, X-A\r\nContent-Length: 3\r\nX-A: b\r\n\r\n"), "GET"); err != nil {
		t.Fatal(err)
	}
	const want = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
	if got := string(AppendResponse(nil, &r, Delivery{Minor: 1, KeepAlive: true})); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A status without a body goes out without a length, whatever the server says.
func TestBodilessStatusHasNoLength(t *testing.T) {
	for _, status := range []string{"103 Early Hints", "204 No Content"} {
		var r Response
		if err := r.Read(reader("HTTP/1.1 "+status+"\r\nContent-Length: 3\r\nLink: x\r\n\r\n"), "GET"); err != nil {
			t.Fatal(err)
		}
		want := "HTTP/1.1 " + status + "\r\nLink: x\r\n\r\n"
		if got := string(AppendResponse(nil, &r, Delivery{Minor: 1, KeepAlive: true})); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestFrameChunk(t *testing.T) {
	for _, n := range []int{1, 15, 16, 255, 4096, 32 << 10} {
		buf := make([]byte, ChunkRoom+n+ChunkAfter)
		copy(buf[ChunkRoom:], bytes.Repeat([]byte("x"), n))
		var b Body
		b.Reset(bufio.NewReader(io.MultiReader(bytes.NewReader(FrameChunk(buf, n)), strings.NewReader("0\r\n\r\n"))), -1)
		if got, err := io.ReadAll(&b); err != nil || len(got) != n {
			t.Errorf("%d bytes came back as %d, %v", n, len(got), err)
		}
	}
}

// FuzzRequest demands that what we accept and send on means the same to Go's
// own server: the same method, host, target and body length.
func FuzzRequest(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add([]byte("POST /a?b HTTP/1.1\r\nHost: x:1\r\nContent-Length: 3\r\nConnection: a, b\r\nA: 1\r\n\r\nabc"))
	f.Add([]byte("PUT http://x/y HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))
	f.Add([]byte("\r\nOPTIONS * HTTP/1.0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var r Request
		br := bufio.NewReaderSize(bytes.NewReader(raw), MaxHead)
		if r.Read(br) != nil {
			return
		}
		out := AppendRequest(nil, &r, Forward{Client: netip.MustParseAddr("192.0.2.1")})
		if len(r.Host) == 0 {
			return // HTTP/1.0 without a host
		}
		got, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(out)))
		if err != nil {
			if strings.Contains(err.Error(), "parse") || strings.Contains(err.Error(), "invalid") {
				return // Go is stricter about the target's escapes
			}
			t.Fatalf("we sent on what Go refuses: %v\n%q", err, out)
		}
		if got.Method != r.Method || got.ContentLength != r.Length {
			t.Fatalf("method %q length %d became %q %d", r.Method, r.Length, got.Method, got.ContentLength)
		}
		if n := len(got.Header.Values("X-Forwarded-For")); n != 1 {
			t.Fatalf("X-Forwarded-For is there %d times\n%q", n, out)
		}
	})
}

// FuzzDetect demands that a final verdict never changes with more bytes, and
// that what is taken for a request line has the parser's approval or a reason.
func FuzzDetect(f *testing.F) {
	for _, s := range []string{"GET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET x\r\n", "\x16\x03\x01", "*1\r\n", "PRI "} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		final := Undecided
		for n := range len(b) + 1 {
			v := Detect(b[:n])
			if final != Undecided && v != final {
				t.Fatalf("%q: verdict %d became %d", b[:n], final, v)
			}
			final = v
		}
		if final == Undecided && len(b) > MaxLine+1 {
			t.Fatalf("undecided after %d bytes", len(b))
		}
	})
}

func FuzzBody(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\n"), int64(-1))
	f.Add([]byte("hello"), int64(3))
	f.Fuzz(func(t *testing.T, raw []byte, length int64) {
		if length < UntilClose {
			return
		}
		var whole, bytewise Body
		whole.Reset(bufio.NewReaderSize(bytes.NewReader(raw), 4096), length)
		bytewise.Reset(bufio.NewReaderSize(iotest.OneByteReader(bytes.NewReader(raw)), 4096), length)
		a, aerr := io.ReadAll(&whole)
		b, berr := io.ReadAll(&bytewise)
		if !bytes.Equal(a, b) || (aerr == nil) != (berr == nil) {
			t.Fatalf("%q %v and %q %v", a, aerr, b, berr)
		}
	})
}

func TestBodyReady(t *testing.T) {
	for raw, want := range map[string]bool{
		"":                    false,
		"3":                   false,
		"3\r\n":               false,
		"3\r\na":              true,
		"0\r\n":               false,
		"0\r\n\r\n":           true,
		"0\r\nX: y\r\n\r\n":   true,
		"3;ext=\"0\"\r\nabc":  true,
		"10\r\n0123456789abc": true,
	} {
		br := reader(raw)
		_, _ = br.Peek(1)
		var b Body
		b.Reset(br, -1)
		if got := b.Ready(); got != want {
			t.Errorf("%q: got %v", raw, got)
		}
	}
	br := reader("3\r\nabc\r\n5\r\nhello\r\n0\r\n\r\n")
	var b Body
	b.Reset(br, -1)
	_, _ = br.Peek(1)
	for range 3 {
		if !b.Ready() {
			t.Error("not ready where all is there")
		}
		_, _ = b.Read(make([]byte, 10))
	}
}
