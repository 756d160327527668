package page

import (
	"bytes"
	"strconv"
)

// form is how an answer is written.
type form int

const (
	text form = iota
	html
	problem
)

// preferred chooses the form by an Accept field (RFC 9110 §12.5.1): the one
// with the most weight, among equals the one named first. Who accepts anything
// gets text.
func preferred(accept []byte) form {
	best, bestWeight := text, 0.0
	for part := range bytes.SplitSeq(accept, []byte{','}) {
		kind, params, _ := bytes.Cut(part, []byte{';'})
		f, ok := formOf(bytes.TrimSpace(kind))
		if w := weight(params); ok && w > bestWeight {
			best, bestWeight = f, w
		}
	}
	return best
}

func formOf(kind []byte) (form, bool) {
	switch string(bytes.ToLower(kind)) {
	case "text/html", "application/xhtml+xml":
		return html, true
	case "application/json", "application/problem+json":
		return problem, true
	case "text/plain", "text/*", "*/*":
		return text, true
	}
	return text, false
}

// weight reads the parameter q; without one it is 1.
func weight(params []byte) float64 {
	for p := range bytes.SplitSeq(params, []byte{';'}) {
		name, value, _ := bytes.Cut(bytes.TrimSpace(p), []byte{'='})
		if !bytes.EqualFold(name, []byte{'q'}) {
			continue
		}
		q, err := strconv.ParseFloat(string(value), 64)
		if err != nil || q < 0 || q > 1 {
			return 0
		}
		return q
	}
	return 1
}
