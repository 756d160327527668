package http2x

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Status codes of gRPC that a proxy uses.
const (
	StatusDeadline    = 4
	StatusDenied      = 7
	StatusExhausted   = 8
	StatusUnknownCall = 12
	StatusInternal    = 13
	StatusUnavailable = 14
)

// IsGRPC says whether a Content-Type is one of gRPC.
func IsGRPC(contentType string) bool {
	const media = "application/grpc"
	if len(contentType) < len(media) || !strings.EqualFold(contentType[:len(media)], media) {
		return false
	}
	rest := contentType[len(media):]
	return rest == "" || rest[0] == '+' || rest[0] == ';'
}

// GRPCStatus is the status of gRPC that clients make of an answer in HTTP.
func GRPCStatus(http int) int {
	switch http {
	case 400, 408, 413, 431:
		return StatusInternal
	case 401, 403:
		return StatusDenied
	case 404, 405, 501:
		return StatusUnknownCall
	}
	return StatusUnavailable
}

// GRPCTimeout reads a grpc-timeout: at most eight digits and a unit.
func GRPCTimeout(s string) (time.Duration, bool) {
	units := map[byte]time.Duration{
		'H': time.Hour, 'M': time.Minute, 'S': time.Second,
		'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
	}
	if len(s) < 2 || len(s) > 9 {
		return 0, false
	}
	unit := units[s[len(s)-1]]
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 63)
	if err != nil || unit == 0 {
		return 0, false
	}
	const longest = 1 << 62
	if n > uint64(longest/unit) {
		return longest, true
	}
	return time.Duration(n) * unit, true
}

// GRPCMessage is text as grpc-message carries it: percent-encoded.
func GRPCMessage(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c >= ' ' && c <= '~' && c != '%' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
