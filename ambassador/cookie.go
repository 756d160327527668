package ambassador

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"math/rand/v2"
)

// clientID is a client's number as its cookie holds it: 128 random bits in
// base64url. It says nothing of the client and is the same for all releases.
type clientID [22]byte

func newClientID() (id clientID) {
	var b [16]byte
	binary.NativeEndian.PutUint64(b[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(b[8:], rand.Uint64())
	base64.RawURLEncoding.Encode(id[:], b[:])
	return id
}

// findCookie finds a client's ID in its cookies. What is not one of ours in form
// counts as none.
func findCookie(by asker, name string) (id clientID, ok bool) {
	for i := 0; ; i++ {
		line := by.fieldFromEnd("cookie", i)
		if line == nil {
			return id, false
		}
		for len(line) > 0 {
			var pair []byte
			pair, line, _ = bytes.Cut(line, semicolon)
			key, value, found := bytes.Cut(bytes.TrimSpace(pair), equals)
			if found && string(key) == name && isClientID(value) {
				copy(id[:], value)
				return id, true
			}
		}
	}
}

var semicolon, equals = []byte(";"), []byte("=")

func isClientID(b []byte) bool {
	if len(b) != len(clientID{}) {
		return false
	}
	for _, c := range b {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// appendCookie appends the Set-Cookie line for a client that got its ID with
// this request (RFC 6265), or nothing.
func (w *want) appendCookie(b []byte) []byte {
	if w.lot.cookie == "" {
		return b
	}
	b = append(append(b, "Set-Cookie: "...), w.lot.cookie...)
	b = append(append(b, '='), w.lot.id[:]...)
	b = append(b, "; Path=/; HttpOnly; SameSite=Lax"...)
	if w.secure {
		b = append(b, "; Secure"...)
	}
	return append(b, "\r\n"...)
}
