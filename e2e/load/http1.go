package load

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// http1 is a keep-alive connection.
type http1 struct {
	wire
	out     bytes.Buffer
	chunked bool
}

func (h *http1) open(string) (string, error) { return "", nil }

func (h *http1) exchange(id string) (string, error) {
	body := h.body(id)
	h.request(id, body)
	// An answer that came before all was written is read all the same: it says
	// more than the error of the write.
	_, werr := h.conn.Write(h.out.Bytes())
	resp, err := http.ReadResponse(h.in, nil)
	if err != nil {
		if werr != nil {
			err = werr
		}
		return "", fmt.Errorf("no answer: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	version := resp.Header.Get("X-Version")
	switch {
	case err != nil:
		return version, fmt.Errorf("answer cut short after %d bytes: %w", len(text), err)
	case werr != nil:
		return version, fmt.Errorf("write: %w (answered %s)", werr, resp.Status)
	case resp.StatusCode != http.StatusOK:
		return version, fmt.Errorf("status %d: %.80s", resp.StatusCode, text)
	case resp.Close:
		return version, h.judgeThenClose(id, body, text)
	}
	return version, h.judge(id, body, text)
}

// judgeThenClose is judge for a connection that the server will not keep; the
// next request makes another.
func (h *http1) judgeThenClose(id string, body, text []byte) error {
	if err := h.judge(id, body, text); err != nil {
		return err
	}
	return fmt.Errorf("the server closes a keep-alive connection")
}

func (h *http1) body(id string) []byte {
	if h.Kind == Get {
		return nil
	}
	return bytes.Repeat([]byte(id+"\n"), h.Size/(len(id)+1)+1)[:h.Size]
}

// request puts the request together, so that it goes out in one write.
func (h *http1) request(id string, body []byte) {
	h.out.Reset()
	method := "POST"
	if h.Kind == Get {
		method = "GET"
	}
	fmt.Fprintf(&h.out, "%s %s HTTP/1.1\r\nHost: load\r\nX-Request-ID: %s\r\n", method, h.Path, id)
	switch {
	case h.Kind == Get:
		h.out.WriteString("\r\n")
	case h.Kind == Upload && h.turn():
		h.out.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		for chunk := range slices.Chunk(body, 4<<10) {
			fmt.Fprintf(&h.out, "%x\r\n%s\r\n", len(chunk), chunk)
		}
		h.out.WriteString("0\r\n\r\n")
	default:
		fmt.Fprintf(&h.out, "Content-Length: %d\r\n\r\n%s", len(body), body)
	}
}

// turn says whether this upload is a chunked one: every other is.
func (h *http1) turn() bool {
	h.chunked = !h.chunked
	return h.chunked
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
		return fmt.Errorf("answer is not JSON: %w", err)
	}
	if a.ID != id {
		return fmt.Errorf("answer to another request: %s", a.ID)
	}
	switch h.Kind {
	case Upload:
		sum := sha256.Sum256(body)
		if a.Bytes != len(body) || !strings.EqualFold(a.SHA256, hex.EncodeToString(sum[:])) {
			return fmt.Errorf("%d of %d bytes arrived, sum %s", a.Bytes, len(body), a.SHA256)
		}
	case Post:
		if a.Body != string(body) {
			return fmt.Errorf("body came back changed: %.40q", a.Body)
		}
	case Get, WebSocket, TCP, Greeted:
	}
	return nil
}
