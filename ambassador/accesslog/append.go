package accesslog

import (
	"bytes"
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"
)

// Longer texts are cut, so that a line has a bound.
const (
	maxHost = 255
	maxPath = 1024
	maxText = 512
	// maxLine bounds a line: the texts, each byte of which may become six, and
	// the rest.
	maxLine = 6*(maxHost+maxPath+2*maxText+2*maxHost+4*maxText) + 1024
)

const digits = "0123456789abcdef"

// plain are the bytes that are written as they are.
var plain = func() (t [256]bool) {
	for c := ' '; c <= '~'; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// stamp remembers the text of a second, since most lines share it.
type stamp struct {
	second int64
	layout string
	text   []byte
}

const (
	jsonTime     = "2006-01-02T15:04:05."
	combinedTime = "02/Jan/2006:15:04:05 +0000"
)

// append appends the second of t.
func (s *stamp) append(b []byte, t time.Time, layout string) []byte {
	if sec := t.Unix(); sec != s.second || layout != s.layout {
		s.second, s.layout, s.text = sec, layout, t.UTC().AppendFormat(s.text[:0], layout)
	}
	return append(b, s.text...)
}

// appendMicros appends the microseconds of t, in six digits.
func appendMicros(b []byte, t time.Time) []byte {
	us := t.Nanosecond() / 1000
	for div := 100_000; div > 0; div /= 10 {
		b = append(b, byte('0'+us/div%10))
	}
	return b
}

// appendJSON appends the entry as a line of JSON. Fields that say nothing are
// left out.
func appendJSON(b []byte, s *stamp, e *Entry) []byte {
	b = append(b, `{"time":"`...)
	b = appendMicros(s.append(b, e.Time, jsonTime), e.Time)
	b = append(b, `Z","client":"`...)
	b = appendAddr(b, e.Client)
	b = append(b, `","port":`...)
	b = strconv.AppendUint(b, uint64(e.Port), 10)
	b = append(b, `,"protocol":"`...)
	b = append(b, e.Protocol...)
	b = append(b, '"')
	b = jsonText(b, `,"method":"`, e.Method, maxHost)
	b = jsonText(b, `,"host":"`, e.Host, maxHost)
	b = jsonText(b, `,"path":"`, withoutQuery(e.Path), maxPath)
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(e.Status), 10)
	b = number(b, `,"in":`, e.In)
	b = number(b, `,"out":`, e.Out)
	b = append(b, `,"duration_us":`...)
	b = strconv.AppendInt(b, e.Duration.Microseconds(), 10)
	b = number(b, `,"first_byte_us":`, uint64(max(e.FirstByte, 0).Microseconds()))
	b = number(b, `,"connect_us":`, uint64(max(e.Connect, 0).Microseconds()))
	b = appendChoice(b, e)
	b = jsonText(b, `,"referer":"`, withoutQuery(e.Referer), maxText)
	b = jsonText(b, `,"user_agent":"`, e.UserAgent, maxText)
	return append(b, "}\n"...)
}

// appendChoice appends what was decided and why.
func appendChoice(b []byte, e *Entry) []byte {
	b = jsonText(b, `,"route":"`, e.Route, maxText)
	b = jsonText(b, `,"service":"`, e.Service, maxText)
	b = jsonText(b, `,"release":"`, e.Release, maxText)
	b = jsonText(b, `,"container":"`, e.Container, maxText)
	b = number(b, `,"attempts":`, uint64(e.Attempts))
	if e.Replayed {
		b = append(b, `,"replayed":true`...)
	}
	b = jsonText(b, `,"why":"`, e.Why, maxHost)
	b = number(b, `,"generation":`, e.Generation)
	if e.TLS != "" {
		b = jsonText(b, `,"tls":"`, e.TLS, maxHost)
		b = jsonText(b, `,"server_name":"`, e.ServerName, maxHost)
	}
	return b
}

func number(b []byte, key string, n uint64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendUint(append(b, key...), n, 10)
}

func appendAddr(b []byte, a netip.Addr) []byte {
	if !a.IsValid() {
		return append(b, '-')
	}
	return a.AppendTo(b)
}

// jsonText appends a member whose value is a text; key ends with its opening
// quote.
func jsonText[T string | []byte](b []byte, key string, text T, most int) []byte {
	if len(text) == 0 {
		return b
	}
	b = append(b, key...)
	if len(text) > most {
		text = text[:most]
	}
	return append(escapeJSON(b, text), '"')
}

// escapeJSON writes printable ASCII as it is and all else as \u escapes; what
// is not UTF-8 becomes U+FFFD.
func escapeJSON[T string | []byte](b []byte, text T) []byte {
	begin := 0
	for i := 0; i < len(text); {
		if plain[text[i]] {
			i++
			continue
		}
		b = append(b, text[begin:i]...)
		r, n := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRuneInString(string(text[i:min(i+utf8.UTFMax, len(text))]))
		}
		b = appendRune(b, r)
		i += n
		begin = i
	}
	return append(b, text[begin:]...)
}

func appendRune(b []byte, r rune) []byte {
	if r == '"' || r == '\\' {
		return append(b, '\\', byte(r))
	}
	if r > 0xffff { // as a surrogate pair
		r -= 0x10000
		b = appendRune(b, 0xd800+r>>10)
		r = 0xdc00 + r&0x3ff
	}
	return append(b, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}

// withoutQuery cuts a query and a fragment off.
func withoutQuery(path []byte) []byte {
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	if i := bytes.IndexByte(path, '#'); i >= 0 {
		path = path[:i]
	}
	return path
}

// appendCombined appends the entry in NCSA's combined format. A tunnel is
// written as the method TUNNEL and its port.
func appendCombined(b []byte, s *stamp, e *Entry) []byte {
	b = appendAddr(b, e.Client)
	b = append(b, " - - ["...)
	b = s.append(b, e.Time, combinedTime)
	b = append(b, `] "`...)
	if e.Method == "" && e.Protocol != "tunnel" {
		b = append(b, '-') // what came could not be read
	} else if e.Method == "" {
		b = strconv.AppendUint(append(b, "TUNNEL :"...), uint64(e.Port), 10)
	} else {
		b = quoted(b, e.Method, maxHost)
		b = quoted(append(b, ' '), withoutQuery(e.Path), maxPath)
	}
	b = append(append(b, ' '), protocolName(e.Protocol)...)
	b = strconv.AppendInt(append(b, `" `...), int64(e.Status), 10)
	b = strconv.AppendUint(append(b, ' '), e.Out, 10)
	b = combinedText(b, withoutQuery(e.Referer))
	b = combinedText(b, e.UserAgent)
	return append(b, '\n')
}

func protocolName(p string) string {
	switch p {
	case "http/1.1", "websocket":
		return "HTTP/1.1"
	case "http/1.0":
		return "HTTP/1.0"
	case "h2":
		return "HTTP/2.0"
	}
	return "TCP"
}

func combinedText(b, text []byte) []byte {
	if len(text) == 0 {
		return append(b, ` "-"`...)
	}
	return append(quoted(append(b, ` "`...), text, maxText), '"')
}

// quoted escapes as Apache does: \" and \\, and \xhh for what is not printable
// ASCII.
func quoted[T string | []byte](b []byte, text T, most int) []byte {
	for i := range min(len(text), most) {
		c := text[i]
		switch {
		case plain[c]:
			b = append(b, c)
		case c == '"', c == '\\':
			b = append(b, '\\', c)
		default:
			b = append(b, '\\', 'x', digits[c>>4], digits[c&15])
		}
	}
	return b
}
