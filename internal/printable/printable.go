// Package printable makes texts of strangers fit for a terminal: what a commit,
// a manifest or a container says must not move the cursor, hide what stands
// beside it, or answer in the user's place.
//
// It does not know what the texts are about. Its functions are pure and may be
// called from any goroutine; a [Writer] is for one.
package printable

import (
	"io"
	"reflect"
	"strings"
	"unicode/utf8"
)

// Text returns s with its control characters shown instead of obeyed: an
// escape as ^[. Line feeds and tabs stay; characters that turn the direction of
// writing become U+FFFD.
func Text(s string) string {
	if !strings.ContainsFunc(s, strange) {
		return s
	}
	var b strings.Builder
	for _, r := range strings.ReplaceAll(s, "\r\n", "\n") {
		show(&b, r)
	}
	return b.String()
}

// strange says that a character is not to reach a terminal.
func strange(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case r < ' ', r >= 0x7f && r < 0xa0, r == utf8.RuneError:
		return true
	// Unicode's line ends and bidirectional controls, UAX #9.
	case r == 0x2028, r == 0x2029, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f, r == 0x061c:
		return true
	}
	return false
}

func show(b *strings.Builder, r rune) {
	switch {
	case !strange(r):
		b.WriteRune(r)
	case r < 0x80:
		b.WriteByte('^')
		b.WriteByte(byte(r) ^ 0x40)
	default:
		b.WriteRune(utf8.RuneError)
	}
}

// Deep makes every text below v, a pointer, what [Text] makes of it: in
// structures, lists and maps, their keys included. Bytes stay as they are.
func Deep(v any) { deep(reflect.ValueOf(v)) }

func deep(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if v.CanSet() {
			v.SetString(Text(v.String()))
		}
	case reflect.Pointer:
		deep(v.Elem())
	case reflect.Interface:
		if !v.IsNil() && v.CanSet() {
			v.Set(copied(v.Elem()))
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			deep(field)
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		for i := range v.Len() {
			deep(v.Index(i))
		}
	case reflect.Map:
		deepMap(v)
	}
}

// copied is a value that was made printable; what an interface or a map holds
// cannot be changed in place.
func copied(v reflect.Value) reflect.Value {
	fresh := reflect.New(v.Type()).Elem()
	fresh.Set(v)
	deep(fresh)
	return fresh
}

func deepMap(v reflect.Value) {
	if v.IsNil() || !v.CanInterface() {
		return
	}
	for _, key := range v.MapKeys() {
		value := copied(v.MapIndex(key))
		v.SetMapIndex(key, reflect.Value{})
		v.SetMapIndex(copied(key), value)
	}
}

// Writer passes a stream on with its control characters shown instead of
// obeyed, but for colours. Make one with [NewWriter].
type Writer struct {
	w io.Writer
	// rest is what may be the beginning of something.
	rest     []byte
	coloured bool
}

// NewWriter returns a writer that passes on to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// longest is the longest sequence that sets colours; what is longer is none.
const longest = 32

// Write passes p on. An error is of the writer behind.
func (w *Writer) Write(p []byte) (int, error) {
	in := append(w.rest, p...)
	var b strings.Builder
	for len(in) > 0 {
		n := w.next(&b, in)
		if n == 0 {
			break
		}
		in = in[n:]
	}
	w.rest = append([]byte(nil), in...)
	if _, err := io.WriteString(w.w, b.String()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// next passes on the first character or sequence of in and returns its length;
// 0 says that more must be seen.
func (w *Writer) next(b *strings.Builder, in []byte) int {
	switch {
	case in[0] == '\r':
		return carriage(b, in)
	case in[0] == 0x1b:
		return w.escape(b, in)
	case !utf8.FullRune(in):
		return 0
	}
	r, n := utf8.DecodeRune(in)
	show(b, r)
	return n
}

// carriage makes a line's end of a return, so that nothing is written over.
func carriage(b *strings.Builder, in []byte) int {
	if len(in) == 1 {
		return 0
	}
	b.WriteByte('\n')
	if in[1] == '\n' {
		return 2
	}
	return 1
}

// escape passes on what sets colours (ECMA-48, SGR).
func (w *Writer) escape(b *strings.Builder, in []byte) int {
	n := 1
	if n < len(in) && in[n] == '[' {
		for n++; n < len(in) && n < longest && strings.IndexByte("0123456789;:", in[n]) >= 0; {
			n++
		}
	}
	switch {
	case n == len(in):
		return 0
	case n > 1 && in[n] == 'm':
		b.Write(in[:n+1])
		w.coloured = true
		return n + 1
	}
	show(b, 0x1b)
	return 1
}

// Close passes on what Write held back and ends colours. It leaves the writer
// behind open.
func (w *Writer) Close() error {
	var b strings.Builder
	for _, r := range strings.TrimSuffix(string(w.rest), "\r") {
		show(&b, r)
	}
	if w.coloured {
		b.WriteString("\x1b[0m")
	}
	w.rest, w.coloured = nil, false
	_, err := io.WriteString(w.w, b.String())
	return err
}
