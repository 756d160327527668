package http2x

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/remorahq/remora/ambassador/http1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is two ends of one TCP connection.
func pair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = c.Close(), s.Close() })
	return s.(*net.TCPConn), c.(*net.TCPConn)
}

// client speaks frames.
type client struct {
	t    *testing.T
	c    net.Conn
	fr   *http2.Framer
	done chan struct{}
}

func serve(t *testing.T, h http.Handler) (*Session, *client) {
	t.Helper()
	near, far := pair(t)
	raw, err := near.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSession(near, NewReader(raw, nil, new(Buffers)), Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, c: far, fr: http2.NewFramer(far, far), done: make(chan struct{})}
	go func() { defer close(c.done); s.Serve(h) }()
	t.Cleanup(func() { _ = far.Close(); <-c.done })
	_, _ = io.WriteString(far, http2.ClientPreface)
	_ = c.fr.WriteSettings()
	_ = far.SetReadDeadline(time.Now().Add(10 * time.Second))
	return s, c
}

func (c *client) get(id uint32, path string) {
	c.t.Helper()
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "x"}, {":path", path}} {
		_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	if err := c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b.Bytes(), EndStream: true, EndHeaders: true}); err != nil {
		c.t.Fatal(err)
	}
}

// until reads frames up to one that is wanted.
func (c *client) until(what string, ok func(http2.Frame) bool) http2.Frame {
	c.t.Helper()
	for {
		f, err := c.fr.ReadFrame()
		if err != nil {
			c.t.Fatalf("waited for %s: %v", what, err)
		}
		if ok(f) {
			return f
		}
	}
}

func (c *client) answer(id uint32) {
	c.t.Helper()
	c.until(fmt.Sprintf("the end of stream %d", id), func(f http2.Frame) bool {
		d, ok := f.(*http2.DataFrame)
		return ok && d.StreamID == id && d.StreamEnded()
	})
}

func goAway(f http2.Frame) bool { _, ok := f.(*http2.GoAwayFrame); return ok }

// A session that drains announces it while it still takes streams, then says
// which was the last, lets them finish, and ends.
func TestTwoStepGoAway(t *testing.T) {
	began, finish := make(chan struct{}, 1), make(chan struct{})
	s, c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			began <- struct{}{}
			<-finish
		}
		fmt.Fprint(w, "ok")
	}))
	c.get(1, "/slow")
	<-began
	s.Drain(make(chan struct{}))
	begun := time.Now()
	first := c.until("the first GOAWAY", goAway).(*http2.GoAwayFrame)
	if first.LastStreamID != 1<<31-1 || first.ErrCode != http2.ErrCodeNo {
		t.Errorf("the first GOAWAY is %v", first)
	}
	c.get(3, "/")
	c.answer(3)
	second := c.until("the second GOAWAY", goAway).(*http2.GoAwayFrame)
	if second.LastStreamID != 3 || second.ErrCode != http2.ErrCodeNo {
		t.Errorf("the second GOAWAY is %v", second)
	}
	if took := time.Since(begun); took < settle-50*time.Millisecond {
		t.Errorf("the second GOAWAY came after %s", took)
	}
	close(finish)
	c.answer(1)
	if _, err := c.fr.ReadFrame(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last stream: %v", err)
	}
	<-c.done
}

// A session that is served only after it was told to drain does the same.
func TestDrainBeforeServe(t *testing.T) {
	near, far := pair(t)
	s, err := NewSession(near, near, Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.Drain(make(chan struct{}))
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(http.NotFoundHandler()) }()
	c := &client{t: t, c: far, fr: http2.NewFramer(far, far)}
	_, _ = io.WriteString(far, http2.ClientPreface)
	_ = c.fr.WriteSettings()
	_ = far.SetReadDeadline(time.Now().Add(10 * time.Second))
	first, err := c.fr.ReadFrame()
	if err != nil || first.Header().Type != http2.FrameSettings {
		t.Fatalf("the first frame is %v, %v; want SETTINGS", first, err)
	}
	c.until("the first GOAWAY", goAway)
	c.until("the second GOAWAY", goAway)
	<-done
}

// A handler that gives up resets its stream with CANCEL, not as a fault of ours.
func TestAbortIsCancel(t *testing.T) {
	_, c := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	c.get(1, "/")
	f := c.until("the reset", func(f http2.Frame) bool { return f.Header().Type == http2.FrameRSTStream }).(*http2.RSTStreamFrame)
	if f.ErrCode != http2.ErrCodeCancel {
		t.Errorf("reset with %v", f.ErrCode)
	}
}

// sink takes what is written.
type sink struct {
	net.Conn
	bytes.Buffer
}

func (s *sink) Write(b []byte) (int, error) { return s.Buffer.Write(b) }
func (s *sink) Read([]byte) (int, error)    { return 0, io.EOF }

// stream writes a connection's worth of frames, header blocks in pieces among
// them.
func someFrames(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	fr := http2.NewFramer(&b, nil)
	block := bytes.Repeat([]byte{0x82}, 30)
	_ = fr.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 20})
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:10]})
	_ = fr.WriteContinuation(1, false, block[10:20])
	_ = fr.WriteContinuation(1, true, block[20:])
	_ = fr.WriteData(1, false, bytes.Repeat([]byte{2}, 70_000))
	_ = fr.WriteData(1, true, nil)
	_ = fr.WriteRSTStream(3, http2.ErrCodeInternal)
	_ = fr.WriteRSTStream(5, http2.ErrCodeProtocol)
	_ = fr.WritePing(true, [8]byte{2, 2, 2, 2, 2, 2, 2, 2})
	return b.Bytes()
}

// Wherever a GOAWAY is asked for and however writes are cut, what comes out are
// whole frames, with the GOAWAY between two of them and never inside a header
// block.
func TestGoAwayAtAnyPoint(t *testing.T) {
	all := someFrames(t)
	for _, size := range []int{1, 7, 9, 13, 64, 4096, 1 << 20} {
		pieces := slices.Collect(slices.Chunk(all, size))
		for at := 1; at <= len(pieces); at += 1 + len(pieces)/30 {
			out := &sink{}
			c := newConn(out, nil)
			for i, p := range pieces {
				if i == at {
					c.announce()
				}
				if n, err := c.Write(p); n != len(p) || err != nil {
					t.Fatalf("write: %d, %v", n, err)
				}
			}
			if at == len(pieces) {
				c.announce()
			}
			check(t, fmt.Sprintf("pieces of %d, GOAWAY at %d", size, at), out.Bytes())
		}
	}
}

func check(t *testing.T, what string, out []byte) {
	t.Helper()
	fr := http2.NewFramer(nil, bytes.NewReader(out))
	fr.SetMaxReadFrameSize(1 << 20)
	goAways, n := 0, 0
	for {
		f, err := fr.ReadFrame() // refuses a header block that is interrupted
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		n++
		switch f := f.(type) {
		case *http2.GoAwayFrame:
			goAways++
		case *http2.RSTStreamFrame:
			if want := map[uint32]http2.ErrCode{3: http2.ErrCodeCancel, 5: http2.ErrCodeProtocol}[f.StreamID]; f.ErrCode != want {
				t.Errorf("%s: stream %d reset with %v", what, f.StreamID, f.ErrCode)
			}
		case *http2.PingFrame:
			if f.Data != [8]byte{2, 2, 2, 2, 2, 2, 2, 2} {
				t.Errorf("%s: PING of %v", what, f.Data)
			}
		}
	}
	if goAways != 1 || n != 10 {
		t.Errorf("%s: %d frames, %d of them GOAWAY; want 10 and 1", what, n, goAways)
	}
}

// The writer's slice is not changed.
func TestWriteKeepsItsArgument(t *testing.T) {
	var b bytes.Buffer
	_ = http2.NewFramer(&b, nil).WriteRSTStream(1, http2.ErrCodeInternal)
	before := slices.Clone(b.Bytes())
	if _, err := newConn(&sink{}, nil).Write(b.Bytes()); err != nil || !bytes.Equal(b.Bytes(), before) {
		t.Errorf("the argument became %v, %v", b.Bytes(), err)
	}
}

func never(int64, time.Duration) bool { return false }
func always(int64) bool               { return true }

func TestUploadIsSentAgain(t *testing.T) {
	body := strings.Repeat("0123456789", 5000)
	u := NewUpload(io.NopCloser(iotest.OneByteReader(strings.NewReader(body))), -1, 64<<10, always, never)
	defer u.Close()
	for range 3 {
		a, err := u.Attempt()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(a)
		if err != nil || string(got) != body || !a.Done() {
			t.Fatalf("got %d bytes, %v", len(got), err)
		}
	}
	if b, whole := u.Small(); !whole || string(b) != body {
		t.Error("not at hand")
	}
}

// What is larger than the limit comes through once, and then is lost.
func TestUploadIsLost(t *testing.T) {
	for name, charge := range map[string]func(int64) bool{
		"limit":  always,
		"budget": func(int64) bool { return false },
	} {
		body := strings.Repeat("x", 500_000)
		u := NewUpload(io.NopCloser(strings.NewReader(body)), -1, 64<<10, charge, never)
		a, err := u.Attempt()
		if err != nil {
			t.Fatal(name, err)
		}
		got, err := io.ReadAll(a)
		if err != nil || string(got) != body || u.Whole() {
			t.Errorf("%s: got %d bytes, %v", name, len(got), err)
		}
		if _, err := u.Attempt(); !errors.Is(err, ErrLost) {
			t.Errorf("%s: again: %v", name, err)
		}
		u.Close()
	}
}

// An attempt that is given up while the client is silent does not keep the next
// one from what was kept.
func TestUploadAttemptLetGo(t *testing.T) {
	near, far := pair(t)
	u := NewUpload(near, -1, 64<<10, always, never)
	defer u.Close()
	_, _ = io.WriteString(far, "abc")
	first, _ := u.Attempt()
	buf := make([]byte, 3)
	if _, err := io.ReadFull(first, buf); err != nil {
		t.Fatal(err)
	}
	waits := make(chan error)
	go func() { _, err := first.Read(buf); waits <- err }()
	second, _ := u.Attempt()
	if err := <-waits; err == nil {
		t.Error("the attempt that was let go of read on")
	}
	got := make([]byte, 3)
	if _, err := io.ReadFull(second, got); err != nil || string(got) != "abc" {
		t.Errorf("got %q, %v", got, err)
	}
	_, _ = io.WriteString(far, "def")
	if _, err := io.ReadFull(second, got); err != nil || string(got) != "def" {
		t.Errorf("got %q, %v", got, err)
	}
}

// A body of known length has ended with its last byte.
func TestUploadEndsWithItsLastByte(t *testing.T) {
	near, far := pair(t)
	u := NewUpload(near, 3, 64<<10, always, never)
	defer u.Close()
	_, _ = io.WriteString(far, "abc") // and no end
	a, _ := u.Attempt()
	if got, err := io.ReadAll(a); string(got) != "abc" || err != nil || !errors.Is(u.Ended(), io.EOF) {
		t.Errorf("got %q, %v, ended %v", got, err, u.Ended())
	}
}

func TestUploadErrors(t *testing.T) {
	broken := errors.New("broken")
	u := NewUpload(io.NopCloser(io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(broken))), -1, 64, always, never)
	a, _ := u.Attempt()
	got, err := io.ReadAll(a)
	if string(got) != "ab" || !errors.Is(err, broken) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, whole := u.Small(); whole {
		t.Error("a body that broke is whole")
	}
	u.Close()
	u = NewUpload(io.NopCloser(strings.NewReader("abc")), -1, 64, always, func(n int64, _ time.Duration) bool { return n > 0 })
	a, _ = u.Attempt()
	if _, err := io.ReadAll(a); !errors.Is(err, ErrSlow) {
		t.Errorf("a slow one ended with %v", err)
	}
	u.Close()
}

func TestGRPC(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"1S": time.Second, "100m": 100 * time.Millisecond, "5u": 5 * time.Microsecond, "7n": 7, "2M": 2 * time.Minute, "99999999H": 1 << 62,
	} {
		if d, ok := GRPCTimeout(s); !ok || d != want {
			t.Errorf("%q: %v %v", s, d, ok)
		}
	}
	for _, s := range []string{"", "1", "S", "-1S", "+1S", "1s", "123456789S", "1.5S"} {
		if d, ok := GRPCTimeout(s); ok {
			t.Errorf("%q: %v", s, d)
		}
	}
	for s, want := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "Application/GRPC;a=b": true,
		"application/grpc-web": false, "application/json": false, "": false,
	} {
		if IsGRPC(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
	if m := GRPCMessage("a 100% ü\n"); m != "a 100%25 %C3%BC%0A" {
		t.Errorf("got %q", m)
	}
}

func TestRequestChecks(t *testing.T) {
	ok := func() *http.Request {
		return &http.Request{Method: "GET", RequestURI: "/a?b", Host: "x", Header: http.Header{"A": {"b"}}, ProtoMajor: 2}
	}
	many := http.Header{}
	for i := range http1.MaxFields + 1 {
		many.Add("A", fmt.Sprint(i))
	}
	for name, change := range map[string]func(*http.Request){
		"method_space":     func(r *http.Request) { r.Method = "GET /x HTTP/1.1" },
		"method_empty":     func(r *http.Request) { r.Method = "" },
		"target_space":     func(r *http.Request) { r.RequestURI = "/a b" },
		"target_control":   func(r *http.Request) { r.RequestURI = "/a\x01" },
		"target_relative":  func(r *http.Request) { r.RequestURI = "a" },
		"star_get":         func(r *http.Request) { r.RequestURI = "*" },
		"no_host":          func(r *http.Request) { r.Host = "" },
		"host_slash":       func(r *http.Request) { r.Host = "a/b" },
		"host_at":          func(r *http.Request) { r.Host = "a@b" },
		"two_lengths":      func(r *http.Request) { r.Header["Content-Length"] = []string{"1", "1"} },
		"length_plus":      func(r *http.Request) { r.Header["Content-Length"] = []string{"+1"} },
		"length_empty":     func(r *http.Request) { r.Header["Content-Length"] = []string{""} },
		"length_not_ended": func(r *http.Request) { r.Header["Content-Length"] = []string{"5"} },
		"value_crlf":       func(r *http.Request) { r.Header["B"] = []string{"a\r\nc: d"} },
		"value_nul":        func(r *http.Request) { r.Header["B"] = []string{"a\x00"} },
		"name_space":       func(r *http.Request) { r.Header["B c"] = []string{"a"} },
		"too_many":         func(r *http.Request) { r.Header = many },
	} {
		r := ok()
		change(r)
		var dst http1.Request
		if _, err := Request(&dst, r, nil); err == nil {
			t.Errorf("%s: taken as %q", name, http1.AppendRequest(nil, &dst, http1.Forward{}))
		}
	}
	var dst http1.Request
	if _, err := Request(&dst, ok(), nil); err != nil || string(dst.Path) != "/a" || string(dst.Target) != "/a?b" {
		t.Errorf("got %+v, %v", dst, err)
	}
}

func TestTarget(t *testing.T) {
	for _, target := range []string{"/", "/a?b=c", "/a%2fb", "//a//b?c", "/a;b|c\"<>", "*", "/?"} {
		if got := Target("http", "x", target).RequestURI(); got != target {
			t.Errorf("%q becomes %q", target, got)
		}
	}
}
