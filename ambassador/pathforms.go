package ambassador

import (
	"bytes"

	"github.com/remorahq/remora/ambassador/page"
)

// errTwoWays refuses a path that leads to one route as it was sent and to
// another as servers read it: who may not use the one could reach it through the
// other.
var errTwoWays = &refusal{code: page.BadRequest, text: "The path of this address can be read in two ways."}

// match finds the route of a request, by its index.
func (lv *listenerView) match(host, path []byte) (int, error) {
	i, ok := lv.router.Match(host, path)
	if !ok {
		return 0, errNoRoute
	}
	if len(lv.routes) < 2 || !isOdd(path) {
		return i, nil
	}
	var buf [512]byte
	if k, ok := lv.router.Match(host, appendPlain(buf[:0], path)); !ok || k != i {
		return 0, errTwoWays
	}
	return i, nil
}

// isOdd says that a path may be read otherwise than it was sent.
func isOdd(path []byte) bool {
	return bytes.IndexByte(path, '%') >= 0 || bytes.Contains(path, []byte("//")) || bytes.Contains(path, []byte("/."))
}

// appendPlain appends to an empty dst a path as most servers read it: percent
// escapes decoded once, slashes in a row made one, and dot segments removed (RFC
// 3986 §5.2.4, §6.2.2).
func appendPlain(dst, path []byte) []byte {
	for len(path) > 0 {
		c, n := unescape(path)
		path = path[n:]
		if c == '/' {
			dst = endSegment(dst)
		}
		if c != '/' || len(dst) == 0 || dst[len(dst)-1] != '/' {
			dst = append(dst, c)
		}
	}
	if len(dst) > 0 && dst[len(dst)-1] != '/' {
		dst = endSegment(dst)
	}
	return dst
}

// endSegment removes the last segment if it is a dot segment, and what a second
// dot undoes.
func endSegment(dst []byte) []byte {
	i := bytes.LastIndexByte(dst, '/') + 1
	switch string(dst[i:]) {
	case ".":
		return dst[:i]
	case "..":
		return dst[:bytes.LastIndexByte(dst[:max(i-1, 0)], '/')+1]
	}
	return dst
}

// unescape returns the first byte of a path, and of how many it is made.
func unescape(path []byte) (c byte, n int) {
	if path[0] != '%' || len(path) < 3 {
		return path[0], 1
	}
	hi, lo := hexValue(path[1]), hexValue(path[2])
	if hi < 0 || lo < 0 {
		return path[0], 1
	}
	return byte(hi<<4 | lo), 3
}

func hexValue(c byte) int { return bytes.IndexByte([]byte("0123456789abcdef"), c|0x20) }
