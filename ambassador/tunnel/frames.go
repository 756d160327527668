package tunnel

// Close frames of status 1012 (service restart); a client's is masked, here
// with zeros.
const (
	closePlain  = "\x88\x02\x03\xf4"
	closeMasked = "\x88\x82\x00\x00\x00\x00\x03\xf4"
)

// frames follows the WebSocket frames of one direction (RFC 6455 §5.2).
type frames struct {
	head [10]byte // the header as far as it tells lengths
	got  int      // bytes of the header
	need int      // of the header, 0 until known
	left uint64   // of the payload
}

// boundary says whether the next byte begins a frame.
func (f *frames) boundary() bool { return f.got == 0 && f.left == 0 }

// scan goes over b, and with stop only to the first frame's end. It returns
// how far it went.
func (f *frames) scan(b []byte, stop bool) int {
	i := 0
	for i < len(b) {
		if f.left > 0 {
			n := min(f.left, uint64(len(b)-i))
			f.left -= n
			i += int(n)
		} else {
			f.header(b[i])
			i++
		}
		if stop && f.boundary() {
			return i
		}
	}
	return i
}

// header takes the next byte of a header.
func (f *frames) header(c byte) {
	if f.got < len(f.head) {
		f.head[f.got] = c
	}
	f.got++
	if f.got < 2 {
		return
	}
	short := f.head[1] & 0x7f
	if f.got == 2 {
		f.need = 2
		switch short {
		case 126:
			f.need = 4
		case 127:
			f.need = 10
		}
		if f.head[1]&0x80 != 0 {
			f.need += 4
		}
	}
	if f.got < f.need {
		return
	}
	size := 0
	switch short {
	case 126:
		size = 2
	case 127:
		size = 8
	default:
		f.left = uint64(short)
	}
	for _, d := range f.head[2 : 2+size] {
		f.left = f.left<<8 | uint64(d)
	}
	f.got, f.need = 0, 0
}
