package page

import "bytes"

const maxURL = 200

// URL is the address of a request as a person may paste it into a shell:
// without query, and empty where host or path have a character that a shell or
// a reader could take for something else.
func URL(secure bool, host, path []byte) string {
	if i := bytes.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	if len(host) == 0 || len(host)+len(path) > maxURL || !harmless(host, ".:-[]") {
		return ""
	}
	if !harmless(path, "/._~%-") || len(path) > 0 && path[0] != '/' {
		path = nil
	}
	scheme := "http://"
	if secure {
		scheme = "https://"
	}
	return scheme + string(host) + string(path)
}

// harmless says that all are letters, digits, or one of more.
func harmless(s []byte, more string) bool {
	for _, c := range s {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
		if !letter && bytes.IndexByte([]byte(more), c) < 0 {
			return false
		}
	}
	return true
}
