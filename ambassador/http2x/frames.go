package http2x

import (
	"encoding/binary"
	"slices"

	"golang.org/x/net/http2"
)

// frameHead is the length of a frame's head (RFC 9113 §4.1).
const frameHead = 9

// frames follows the frames of what a server writes, however it is cut into
// pieces.
type frames struct {
	head [frameHead]byte
	got  int  // bytes of the present head
	left int  // of the present payload
	open bool // a header block goes on in the next frame
}

// boundary says that another frame may be put in here.
func (f *frames) boundary() bool { return f.got == 0 && f.left == 0 && !f.open }

// scan goes over b, and with stop only to the first boundary. It returns how
// far it went, and where it met the error code of a reset that the server made
// because a handler gave up.
func (f *frames) scan(b []byte, stop bool) (n int, resets []int) {
	for n < len(b) {
		switch {
		case f.left == 0:
			f.take(b[n])
			n++
		case f.isReset() && f.left == 1:
			if b[n] == byte(http2.ErrCodeInternal) {
				resets = append(resets, n)
			}
			f.left = 0
			n++
		default:
			m := min(f.left, len(b)-n)
			if f.isReset() {
				m = min(m, f.left-1)
			}
			f.left -= m
			n += m
		}
		if stop && f.boundary() {
			return n, resets
		}
	}
	return n, resets
}

func (f *frames) kind() http2.FrameType { return http2.FrameType(f.head[3]) }

func (f *frames) isReset() bool { return f.kind() == http2.FrameRSTStream }

// take takes the next byte of a head.
func (f *frames) take(c byte) {
	f.head[f.got] = c
	if f.got++; f.got < frameHead {
		return
	}
	f.got = 0
	f.left = int(f.head[0])<<16 | int(f.head[1])<<8 | int(f.head[2])
	switch f.kind() {
	case http2.FrameHeaders, http2.FramePushPromise, http2.FrameContinuation:
		f.open = !http2.Flags(f.head[4]).Has(http2.FlagHeadersEndHeaders)
	}
}

// cancelled turns resets for an internal error into cancellations: a handler
// that gives up has an instance that broke off or a release that ended behind
// it, not a fault of ours, and x/net lets it say nothing else.
func cancelled(b []byte, resets []int) []byte {
	if len(resets) == 0 {
		return b
	}
	b = slices.Clone(b)
	for _, i := range resets {
		b[i] = byte(http2.ErrCodeCancel)
	}
	return b
}

// goAwayLater is a GOAWAY that refuses no stream yet: more of them will be
// taken until the next one, and none should be begun.
func goAwayLater() []byte {
	b := make([]byte, frameHead+8)
	b[2] = 8
	b[3] = byte(http2.FrameGoAway)
	binary.BigEndian.PutUint32(b[frameHead:], 1<<31-1)
	return b
}
