package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// Body reads the payload of one message, decoded. A read that fails with a
// time-out may be tried again: nothing is lost in between.
type Body struct {
	br      *bufio.Reader
	left    int64 // of the length, or of the chunk
	kind    int64 // 0 and more: a length; -1: chunked; UntilClose
	inChunk bool
	begun   bool // a chunk was read: its CRLF comes before the next size
	done    bool
	trailer []byte // lines to forward, each with its CRLF
}

// Reset begins the body of the length that a head told.
func (b *Body) Reset(br *bufio.Reader, length int64) {
	*b = Body{br: br, left: max(length, 0), kind: length, done: length == 0, trailer: b.trailer[:0]}
}

// Done says that the body was read to its end.
func (b *Body) Done() bool { return b.done }

// Direct says that the body is of a known length and that the next of its bytes,
// left in all, are still in the connection: they may be taken there. What was
// taken has to be told with Took.
func (b *Body) Direct() (left int64, ok bool) {
	return b.left, b.kind >= 0 && !b.done && b.br.Buffered() == 0
}

// Took counts bytes that were taken from the connection itself.
func (b *Body) Took(n int64) {
	b.left -= n
	b.done = b.left == 0
}

// Ready says that the next Read needs nothing that has not arrived. It may be
// false when that is so.
func (b *Body) Ready() bool {
	buf, _ := b.br.Peek(b.br.Buffered())
	switch {
	case b.done:
		return true
	case b.kind != -1 || b.inChunk:
		return len(buf) > 0
	}
	if b.begun {
		if len(buf) < 2 {
			return false
		}
		buf = buf[2:]
	}
	i := bytes.IndexByte(buf, '\n')
	if i < 0 {
		return false
	}
	if buf[0] != '0' {
		return len(buf) > i+1
	}
	_, whole, err := trailersEnd(buf, i+1)
	return whole && err == nil
}

// Read returns payload, io.EOF at the body's end, and io.ErrUnexpectedEOF when
// the connection ended before it.
func (b *Body) Read(p []byte) (int, error) {
	switch {
	case b.done:
		return 0, io.EOF
	case b.kind == UntilClose:
		return b.readUntilClose(p)
	case b.kind == -1 && !b.inChunk:
		if err := b.nextChunk(); err != nil || b.done {
			return 0, orEOF(err)
		}
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.br.Read(p)
	b.left -= int64(n)
	if b.left == 0 {
		b.inChunk, b.done = false, b.kind >= 0
	}
	if n > 0 {
		return n, nil
	}
	return 0, truncated(err, 1)
}

func orEOF(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

func (b *Body) readUntilClose(p []byte) (int, error) {
	n, err := b.br.Read(p)
	if errors.Is(err, io.EOF) {
		b.done = true
	}
	return n, err
}

// nextChunk reads the line of the next chunk's size and, after the last one,
// the trailers.
func (b *Body) nextChunk() error {
	skip := 0
	if b.begun {
		skip = 2
	}
	line, err := b.peekLine(skip)
	if err != nil {
		return err
	}
	size, err := chunkSize(line[skip:])
	if err != nil {
		return err
	}
	if size == 0 {
		return b.trailers(len(line) + 2)
	}
	_, _ = b.br.Discard(len(line) + 2)
	b.left, b.inChunk, b.begun = size, true, true
	return nil
}

// peekLine returns the line after skip bytes of CRLF, those included, without
// its own CRLF.
func (b *Body) peekLine(skip int) ([]byte, error) {
	const maxLine = 1 << 10
	for {
		buf, _ := b.br.Peek(b.br.Buffered())
		if skip == 2 && len(buf) >= 2 && (buf[0] != '\r' || buf[1] != '\n') {
			return nil, refuse(400, "chunk does not end where its size says")
		}
		if len(buf) > skip {
			i := bytes.IndexByte(buf[skip:], '\n')
			if i > maxLine || i < 0 && len(buf)-skip > maxLine {
				return nil, refuse(400, "chunk line is longer than %d bytes", maxLine)
			}
			if i >= 0 {
				line, _, err := cutLine(buf[skip:])
				return buf[:skip+len(line)], err
			}
		}
		if _, err := b.br.Peek(len(buf) + 1); err != nil {
			return nil, truncated(err, 1)
		}
	}
}

// trailers reads the fields after the last chunk, whose line has n bytes.
func (b *Body) trailers(n int) error {
	for {
		buf, _ := b.br.Peek(b.br.Buffered())
		end, ok, err := trailersEnd(buf, n)
		if err != nil {
			return err
		}
		if ok {
			if b.trailer, err = appendTrailer(b.trailer, buf[n:end]); err != nil {
				return err
			}
			_, _ = b.br.Discard(end)
			b.done = true
			return nil
		}
		if len(buf) >= b.br.Size() {
			return refuse(431, "trailers are longer than %d bytes", b.br.Size())
		}
		if _, err := b.br.Peek(len(buf) + 1); err != nil {
			return truncated(err, 1)
		}
	}
}

// trailersEnd finds the empty line at or after n.
func trailersEnd(buf []byte, n int) (end int, ok bool, err error) {
	for bytes.IndexByte(buf[n:], '\n') >= 0 {
		line, _, err := cutLine(buf[n:])
		if err != nil {
			return 0, false, err
		}
		n += len(line) + 2
		if len(line) == 0 {
			return n, true, nil
		}
	}
	return 0, false, nil
}

// chunkSize parses a chunk's size; extensions are dropped.
func chunkSize(line []byte) (int64, error) {
	digits, _, extended := bytes.Cut(line, []byte(";"))
	if !extended { // some old servers pad sizes
		digits = bytes.TrimRight(digits, " \t")
	}
	if len(digits) == 0 || len(digits) > 15 {
		return 0, refuse(400, "invalid chunk size %q", line)
	}
	var n int64
	for _, c := range digits {
		d, ok := hexDigit(c)
		if !ok {
			return 0, refuse(400, "invalid chunk size %q", line)
		}
		n = n<<4 | int64(d)
	}
	if hasControl(line[len(digits):]) {
		return 0, refuse(400, "control character in a chunk extension")
	}
	return n, nil
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
