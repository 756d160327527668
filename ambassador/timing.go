package ambassador

import (
	"strconv"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// time adds the Server-Timing field to the answer, where the route asks for it:
// which release, after how many attempts, or why none, and how long its
// instance took. It is off by default, since it tells strangers what is inside.
func (x *exchange) time() {
	if x.verdict.timing {
		x.extra = x.verdict.appendTiming(x.extra)
	}
}

// appendTiming appends the field's line (W3C Server Timing).
func (v *verdict) appendTiming(b []byte) []byte {
	b = append(b, "Server-Timing: remora;desc=\""...)
	switch {
	case v.ours:
		b = append(append(b, "reason "...), v.why...)
	case v.rel != nil:
		b = appendToken(append(b, "release "...), traffic.ShortRelease(v.rel.name))
	}
	b = strconv.AppendInt(append(b, " attempts "...), int64(v.attempts), 10)
	if v.replayed {
		b = append(b, " replayed"...)
	}
	b = append(b, '"')
	if !v.answered.IsZero() && !v.sent.IsZero() && !v.ours {
		b = append(b, ", upstream;dur="...)
		b = strconv.AppendFloat(b, float64(v.answered.Sub(v.sent))/float64(time.Millisecond), 'f', 2, 64)
	}
	return append(b, "\r\n"...)
}

// appendToken appends what a quoted string bears without escapes.
func appendToken(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c > ' ' && c < 0x7f && c != '"' && c != '\\' {
			b = append(b, c)
		}
	}
	return b
}
