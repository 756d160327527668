package load

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pollTime is how long a backend takes to answer a long poll.
const pollTime = 600 * time.Millisecond

// http1 is a keep-alive connection.
type http1 struct {
	wire
	out bytes.Buffer
}

func (h *http1) open(string) (string, error) { return "", nil }

func (h *http1) exchange(id string) (reply, error) {
	body := h.body(id)
	werr := h.request(id, body)
	written := time.Now()
	// An answer that came before all was written is read all the same: it says
	// more than the error of the write.
	resp, err := h.response(werr)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	got := reply{version: resp.Header.Get("X-Version"), closing: resp.Close}
	if h.Pause > 0 {
		got.first = time.Since(written)
	}
	switch {
	case err != nil:
		return got, failf(Truncated, "answer cut short after %d bytes: %w", len(text), err)
	case resp.StatusCode != http.StatusOK:
		return got, failf(Status(resp.StatusCode), "status %d: %.80s", resp.StatusCode, text)
	case werr != nil:
		return got, fmt.Errorf("write: %w (answered %s)", werr, resp.Status)
	}
	return got, h.judge(id, body, text)
}

// response reads an answer's head. Once a byte of it came, its end is a
// truncation.
func (w *wire) response(werr error) (*http.Response, error) {
	if _, err := w.in.Peek(1); err != nil {
		if werr != nil {
			err = werr
		}
		return nil, fmt.Errorf("no answer: %w", err)
	}
	resp, err := http.ReadResponse(w.in, nil)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, unix.ECONNRESET):
		return nil, failf(Truncated, "answer's head cut short: %w", err)
	case err != nil:
		return nil, fmt.Errorf("answer: %w", err)
	}
	return resp, nil
}

func (h *http1) body(id string) []byte {
	if h.bodiless() {
		return nil
	}
	return bytes.Repeat([]byte(id+"\n"), h.Size/(len(id)+1)+1)[:h.Size]
}

func (h *http1) bodiless() bool { return h.Kind == Get || h.Kind == Poll }

// method is the one of the kind's requests.
func (g *Group) method() string {
	switch {
	case g.Kind == Put:
		return http.MethodPut
	case g.Kind.Replayable():
		return http.MethodGet
	}
	return http.MethodPost
}

// request sends the request, in one write where it has no pauses.
func (h *http1) request(id string, body []byte) error {
	h.out.Reset()
	fmt.Fprintf(&h.out, "%s %s HTTP/1.1\r\nHost: load\r\nX-Request-ID: %s\r\n", h.method(), h.Path, id)
	switch {
	case h.bodiless():
	case h.Kind == Chunked:
		h.out.WriteString("Transfer-Encoding: chunked\r\n")
	default:
		fmt.Fprintf(&h.out, "Content-Length: %d\r\n", len(body))
	}
	h.out.WriteString("\r\n")
	for part := range slices.Chunk(body, piece) {
		if err := h.pause(); err != nil {
			return err
		}
		if h.Kind == Chunked {
			fmt.Fprintf(&h.out, "%x\r\n%s\r\n", len(part), part)
		} else {
			h.out.Write(part)
		}
	}
	if h.Kind == Chunked {
		h.out.WriteString("0\r\n\r\n")
	}
	return h.flush()
}

func (h *http1) flush() error {
	_, err := h.conn.Write(h.out.Bytes())
	h.out.Reset()
	return err
}

// piece is what of a body goes out between two pauses, and a chunk's size.
const piece = 4 << 10

// pause sends what is ready and waits, where the upload is to last.
func (h *http1) pause() error {
	if h.Pause == 0 {
		return nil
	}
	if err := h.flush(); err != nil {
		return err
	}
	time.Sleep(h.Pause) // the load itself: this is what a slow upload is
	return nil
}

// answer is what the backend's echo and upload say.
type answer struct {
	ID     string `json:"id"`
	Method string `json:"method"`
	Body   string `json:"body"`
	Bytes  int    `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// judge says whether the answer is the one to this request.
func (h *http1) judge(id string, body, text []byte) error {
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		return failf(Wrong, "answer is not JSON: %w", err)
	}
	sum := sha256.Sum256(body)
	switch {
	case a.ID != id:
		return failf(Wrong, "answer to another request: %s", a.ID)
	case h.Kind == Post && a.Body != string(body):
		return failf(Wrong, "body came back changed: %.40q", a.Body)
	case h.bodiless(), h.Kind == Post:
		return nil
	case a.Bytes != len(body) || !strings.EqualFold(a.SHA256, hex.EncodeToString(sum[:])):
		return failf(Wrong, "%d of %d bytes arrived, sum %s", a.Bytes, len(body), a.SHA256)
	}
	return nil
}
