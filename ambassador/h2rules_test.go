package ambassador

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/remorahq/remora/internal/traffic"
)

// block encodes header fields, in pairs.
func block(fields ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return b.Bytes()
}

type brokenRule struct {
	interim, head []string
	status        int
	body          string
}

// What a container of HTTP/2 says against the rules reaches no client, ends no
// client's connection and cannot shift the answers of a kept one; nor does it
// leave a claim behind.
func TestH2ContainerBreaksRules(t *testing.T) {
	for name, c := range map[string]brokenRule{
		"connection fields": {
			head:   []string{":status", "200", "connection", "close", "keep-alive", "timeout=1", "proxy-connection", "close", "transfer-encoding", "chunked", "upgrade", "x", "te", "x"},
			status: 200, body: "hello",
		},
		"fields of a hint":   {interim: []string{":status", "103", "connection", "close", "transfer-encoding", "chunked"}, head: []string{":status", "200"}, status: 200, body: "hello"},
		"two lengths":        {head: []string{":status", "200", "content-length", "1", "content-length", "2"}, status: 200, body: "hello"},
		"no length":          {head: []string{":status", "200", "content-length", "5x"}, status: 200, body: "hello"},
		"switching":          {interim: []string{":status", "101", "link", "x"}, head: []string{":status", "200"}, status: 200, body: "hello"},
		"status of 2 digits": {head: []string{":status", "42"}, status: 502},
		"status of 4 digits": {head: []string{":status", "2000"}, status: 502},
		"negative status":    {head: []string{":status", "-1"}, status: 502},
	} {
		t.Run(name, func(t *testing.T) {
			a := framed(t, "v1", func(fr *http2.Framer, id uint32) {
				if c.interim != nil {
					_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block(c.interim...), EndHeaders: true})
				}
				_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block(c.head...), EndHeaders: true})
				_ = fr.WriteData(id, true, []byte("hello"))
			})
			r := newRig(t)
			port := freePort(t)
			r.put(viaUpstream(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, a)), traffic.UpstreamH2C))
			two := connectH2(t, port)
			one, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = one.Close() }()
			_ = one.SetDeadline(time.Now().Add(10 * time.Second))
			br := bufio.NewReader(one)
			for range 3 {
				if name != "two lengths" { // a client of HTTP/2 may take it for broken
					res, body, err := two.do(two.request("GET", "/", nil))
					if err != nil {
						t.Fatalf("HTTP/2: %v", err)
					}
					var head strings.Builder
					_ = res.Header.Write(&head)
					c.check(t, "HTTP/2", "\n"+head.String(), res.StatusCode, body)
				}
				if _, err := io.WriteString(one, get("/")); err != nil {
					t.Fatal(err)
				}
				head, status, body := readAnswer(t, br)
				c.check(t, "HTTP/1.1", head, status, body)
			}
			r.await("no request to be left", func(rep traffic.Report) bool { return rep.Services[0].Releases[0].Inflight == 0 })
		})
	}
}

// check looks at one answer; head is all of it that comes before the body.
func (c *brokenRule) check(t *testing.T, proto, head string, status int, body string) {
	t.Helper()
	if status != c.status || c.body != "" && body != c.body {
		t.Errorf("%s: got %d %q, want %d %q", proto, status, body, c.status, c.body)
	}
	head = strings.ToLower(head)
	for _, name := range []string{"keep-alive:", "proxy-connection:", "upgrade:", "te:", "connection: close", "timeout=1"} {
		if strings.Contains(head, "\n"+name) {
			t.Errorf("%s: %s\n%s", proto, name, head)
		}
	}
	for part := range strings.SplitSeq(head, "\r\n\r\n") {
		coded, long := strings.Contains(part, "transfer-encoding:"), strings.Contains(part, "content-length:")
		if coded && (long || strings.HasPrefix(part, "http/1.1 1")) {
			t.Errorf("%s: a head that frames its body twice:\n%s", proto, part)
		}
	}
	if strings.Contains(head, "http/1.1 101") {
		t.Errorf("%s: nobody asked for\n%s", proto, head)
	}
}

// readAnswer reads an answer with the informational ones before it.
func readAnswer(t *testing.T, br *bufio.Reader) (head string, status int, body string) {
	t.Helper()
	for {
		for n := 1; ; n++ {
			b, err := br.Peek(n)
			if err != nil {
				t.Fatalf("HTTP/1.1: %v after %q", err, b)
			}
			if bytes.HasSuffix(b, []byte("\r\n\r\n")) {
				head += string(b)
				break
			}
		}
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatalf("HTTP/1.1: %v", err)
		}
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatalf("HTTP/1.1: %v", err)
		}
		if res.StatusCode >= 200 {
			return head, res.StatusCode, string(b)
		}
	}
}
