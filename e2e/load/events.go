package load

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// A stream of events lasts half a second.
const (
	eventCount = 25
	eventEvery = 20 * time.Millisecond
)

// events asks for one stream of server-sent events after the other, on a
// keep-alive connection.
type events struct{ wire }

func (e *events) open(string) (string, error) { return "", nil }

func (e *events) exchange(id string) (reply, error) {
	begun := time.Now()
	_, werr := fmt.Fprintf(e.conn, "GET %s HTTP/1.1\r\nHost: load\r\nAccept: text/event-stream\r\nX-Request-ID: %s\r\n\r\n", e.Path, id)
	resp, err := e.response(werr)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	got := reply{version: resp.Header.Get("X-Version"), closing: resp.Close}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 80))
		return got, failf(Status(resp.StatusCode), "status %d: %s", resp.StatusCode, text)
	}
	body := bufio.NewReader(resp.Body)
	for n := 0; ; n++ {
		err := event(body, n, got.version)
		switch {
		case errors.Is(err, io.EOF) && n == eventCount:
			return got, nil
		case errors.Is(err, io.EOF):
			return got, failf(Short, "%w after %d events", errClosedCleanly, n)
		case err != nil:
			return got, err
		}
		if n == 0 {
			got.first = time.Since(begun)
		}
	}
}

// event reads one, which must be number n. io.EOF is the stream's clean end.
func event(body *bufio.Reader, n int, version string) error {
	var data string
	for read := 0; ; read++ {
		line, err := body.ReadString('\n')
		switch {
		case errors.Is(err, io.EOF) && read == 0 && line == "":
			return io.EOF
		case errors.Is(err, io.EOF):
			return failf(Wrong, "the stream ends cleanly in the middle of event %d", n)
		case err != nil:
			return failf(Truncated, "stream cut short in event %d: %w", n, err)
		case line == "\n":
			return judgeEvent(data, n, version)
		}
		if rest, ok := strings.CutPrefix(line, "data: "); ok {
			data = rest
		}
	}
}

func judgeEvent(data string, n int, version string) error {
	var e struct {
		N       int
		Version string
	}
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		return failf(Wrong, "event %d is %q: %w", n, data, err)
	}
	if e.N != n || e.Version != version {
		return failf(Wrong, "event %d of %s is %q", n, version, data)
	}
	return nil
}
