package main

// reasons explains by rule why the ambassador makes something else of a stream
// than a well-known proxy does. "stricter" is what we refuse and they do not,
// "laxer" the other way round, "other" what all take and pass on differently.
func reasons() map[string]string {
	const (
		twoReadings = "two parsers may read it differently: refused, never repaired"
		lenient     = "the standard lets a recipient take it; an attacker needs that, no client does"
		origin      = "the next hop always gets the origin form (RFC 9112 §3.2.1)"
		raw         = "passed on as sent: changing a target changes what the container sees"
		blank       = "RFC 9112 has a recipient take it, and it has one meaning"
	)
	return map[string]string{
		"stricter: before a request":  lenient,
		"stricter: chunk end":         twoReadings,
		"stricter: chunk extension":   twoReadings,
		"stricter: chunk size":        twoReadings,
		"stricter: content length":    twoReadings,
		"stricter: field name":        "names outside of RFC 9110 §5.1 reach applications as something else",
		"stricter: folded line":       "obsolete since RFC 7230, and a way to hide a field",
		"stricter: host":              "a Host that is no host name leads to one route here and to another application there",
		"stricter: length and coding": twoReadings,
		"stricter: limits":            "limits of a head, 16 KiB and 100 fields",
		"stricter: line end":          twoReadings,
		"stricter: request line":      lenient,
		"stricter: request target":    "another form than the four of RFC 9112 §3.2, or another authority than Host",
		"stricter: trailer":           twoReadings,
		"stricter: transfer coding":   twoReadings,
		"stricter: version":           "HTTP/1.0 and HTTP/1.1 are the versions of this wire form",

		"laxer: transfer coding: te after tab":         blank,
		"laxer: content length: cl with blanks around": blank,
		"laxer: before a request: an empty line":       "RFC 9112 §2.2 has a server skip it; some clients send one after a body",
		"laxer: request target: encoded as sent":       raw,
		"laxer: request target: asterisk of OPTIONS":   "the container is asked, not the proxy",
		"laxer: request target: byte 0xff":             raw,
		"other: request target: byte 0x80":             raw,
		"other: request target: byte 0xff":             raw,
		"other: request target: absolute":              origin,
		"other: request target: absolute, upper case":  origin,
	}
}
