package load

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// webSocket is a client of RFC 6455: text messages of one frame.
type webSocket struct {
	wire
	opened bool
}

const (
	opText  = 0x1
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xa
	final   = 0x80
	masked  = 0x80
	long    = 126 // in place of a length: two bytes with the length follow
	longest = 1<<16 - 1
)

// Codes of a close frame that say that the server, not the message, is the
// reason: going away, and service restart (RFC 6455 §7.4.1 and its registry).
const (
	codeGoingAway = 1001
	codeRestart   = 1012
)

func (w *webSocket) open(session string) (string, error) {
	key := make([]byte, 16)
	_, _ = rand.Read(key) // never fails
	_, err := fmt.Fprintf(w.conn, "GET %s HTTP/1.1\r\nHost: load\r\nX-Request-ID: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", w.Path, session, base64.StdEncoding.EncodeToString(key))
	if err != nil {
		return "", fmt.Errorf("upgrade: %w", err)
	}
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		return "", fmt.Errorf("upgrade: %w", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return "", failf(Status(resp.StatusCode), "upgrade: status %d", resp.StatusCode)
	}
	w.opened = true
	return resp.Header.Get("X-Version"), nil
}

func (w *webSocket) over() (bool, error) {
	for {
		n, err := w.pending()
		switch {
		case err != nil:
			return true, fmt.Errorf("ended without a close frame: %w", err)
		case n == 0:
			return false, nil
		}
		op, text, err := w.receive()
		switch {
		case err != nil:
			return true, err
		case op == opClose:
			return true, w.farewell(text)
		case op != opPing:
			return true, failf(Wrong, "a message that nobody sent: %.40q", text)
		}
		if err := w.send(opPong, text); err != nil {
			return true, err
		}
	}
}

func (w *webSocket) exchange(id string) (reply, error) { return reply{}, w.echo(w.message(id)) }

// message is the ID, and filling up to the group's size.
func (w *webSocket) message(id string) []byte {
	return append([]byte(id), bytes.Repeat([]byte("."), max(0, w.Size-len(id)))...)
}

func (w *webSocket) echo(message []byte) error {
	if err := w.send(opText, message); err != nil {
		return err
	}
	for {
		op, text, err := w.receive()
		switch {
		case err != nil:
			return err
		case op == opPing:
			err = w.send(opPong, text)
		case op == opClose:
			return w.farewell(text)
		case op == opText && bytes.Equal(text, message):
			return nil
		case op != opPong:
			return failf(Wrong, "echo of %.40q is %.40q", message, text)
		}
		if err != nil {
			return err
		}
	}
}

// farewell answers a close frame and judges its code.
func (w *webSocket) farewell(text []byte) error {
	_ = w.send(opClose, text) // the other end may be gone already
	code := 0
	if len(text) >= 2 {
		code = int(binary.BigEndian.Uint16(text))
	}
	if code == codeGoingAway || code == codeRestart {
		return failf(Code(code), "%w: code %d", errClosedCleanly, code)
	}
	return failf(Code(code), "closed with code %d", code)
}

// send writes one frame, masked as a client must.
func (w *webSocket) send(op byte, text []byte) error {
	var key [4]byte
	_, _ = rand.Read(key[:]) // never fails
	frame := []byte{final | op, masked | byte(len(text))}
	switch {
	case len(text) > longest:
		return errors.New("frame too long for this client")
	case len(text) >= long:
		frame = binary.BigEndian.AppendUint16([]byte{final | op, masked | long}, uint16(len(text)))
	}
	frame = append(frame, key[:]...)
	for i, b := range text {
		frame = append(frame, b^key[i%4])
	}
	if _, err := w.conn.Write(frame); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// receive reads one frame of the server.
func (w *webSocket) receive() (op byte, text []byte, err error) {
	var head [2]byte
	if n, err := io.ReadFull(w.in, head[:]); n > 0 && err != nil {
		return 0, nil, failf(Truncated, "read in the middle of a frame: %w", err)
	} else if err != nil {
		return 0, nil, fmt.Errorf("read without a close frame: %w", err)
	}
	if head[0]&final == 0 || head[1] > long {
		return 0, nil, failf(Wrong, "unexpected frame %x", head)
	}
	size := int(head[1])
	if size == long {
		var wide [2]byte
		if _, err := io.ReadFull(w.in, wide[:]); err != nil {
			return 0, nil, failf(Truncated, "read in the middle of a frame: %w", err)
		}
		size = int(binary.BigEndian.Uint16(wide[:]))
	}
	text = make([]byte, size)
	if _, err := io.ReadFull(w.in, text); err != nil {
		return 0, nil, failf(Truncated, "read in the middle of a frame: %w", err)
	}
	return head[0] &^ final, text, nil
}

// close says goodbye first.
func (w *webSocket) close(politely bool) {
	if politely && w.opened {
		_ = w.send(opClose, []byte{1000 >> 8, 1000 & 0xff})
	}
	w.wire.close(politely)
}
