package ambassador

import (
	"bytes"
	"strconv"
	"time"

	"github.com/remorahq/remora/ambassador/page"
	"github.com/remorahq/remora/internal/traffic"
)

// errMisdirected refuses a Host that the connection's handshake was not for.
var errMisdirected = refuse(page.Misdirected)

// misdirected refuses a request over TLS for a host name that asks for other
// clients than the name that the handshake was for (RFC 9110 §15.5.20): who
// shows no certificate to one name must not reach another by its Host field.
func (w *want) misdirected(lv *listenerView) error {
	if !w.secure || w.tunnel || lv == nil || lv.names == nil || !lv.names.authorities {
		return nil
	}
	var buf [256]byte
	n := lv.names.find(traffic.AppendHost(buf[:0], w.host), nil)
	if n == nil || n.spec.ClientCA == w.authority {
		return nil
	}
	return errMisdirected
}

// redirected sends a request that did not come over TLS to where it is served
// over it. A trusted proxy in front may have ended TLS.
func (w *want) redirected(rv *routeView, trusted bool) error {
	port := rv.spec.RedirectTLS
	switch {
	case port == 0 || w.secure || w.tunnel:
		return nil
	case trusted && !rv.spec.TLSOnly && bytes.EqualFold(w.by.field("x-forwarded-proto"), []byte("https")):
		return nil
	}
	host := string(traffic.AppendHost(nil, w.host))
	if host == "" {
		return &refusal{code: page.BadRequest, text: "This address is served over https, and the request names no host."}
	}
	if port != 443 {
		host += ":" + strconv.Itoa(int(port))
	}
	return &refusal{
		code:   page.HTTPSOnly,
		fields: []byte("Location: https://" + host + string(w.target) + "\r\n"),
	}
}

// appendHSTS appends the route's Strict-Transport-Security field (RFC 6797),
// where it has one. It is for answers over TLS only.
func appendHSTS(b []byte, age time.Duration) []byte {
	if age <= 0 {
		return b
	}
	b = append(b, "Strict-Transport-Security: max-age="...)
	b = strconv.AppendInt(b, int64(age/time.Second), 10)
	return append(b, "\r\n"...)
}
