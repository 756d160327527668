// Package smuggling is a table of messages that HTTP/1.1 parsers disagree
// about, what remora makes of each, and the means to find out what a proxy
// does: a client that sends bytes as they are and a backend that tells which
// requests reached it. It judges any proxy, and shares no code with ours.
//
// A Backend may be used by one case at a time.
package smuggling

import "strings"

// Case is a stream of bytes from a client.
type Case struct {
	Name string
	// Rule is what it tests; differences from other proxies are explained by
	// rule.
	Rule string
	Raw  string
	// Want are the requests that must reach the backend, whole, as "METHOD
	// target body"; none says that the stream is refused or broken off.
	Want []string
	// Absent are field names that must not reach the backend, Present are lines
	// "Name: value" that must, with {client} for the client's address.
	Absent, Present []string
}

// Refused says that nothing of the stream may reach a backend.
func (c Case) Refused() bool { return len(c.Want) == 0 }

// Last is the request that is sent after a stream that is to be taken, so that
// the connection ends.
const Last = "GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

// request makes a request of a first line and fields; its Host is h.
func request(first string, fields ...string) string {
	return first + "\r\n" + strings.Join(append([]string{"Host: h"}, fields...), "\r\n") + "\r\n\r\n"
}

// get makes a GET of fields.
func get(fields ...string) string { return request("GET / HTTP/1.1", fields...) }

// post makes a POST of fields and a body.
func post(body string, fields ...string) string { return request("POST / HTTP/1.1", fields...) + body }

// chunks makes a chunked POST.
func chunks(body string) string { return post(body, "Transfer-Encoding: chunked") }

// evil is what an attacker hides behind a request.
const evil = "GET /evil HTTP/1.1\r\nHost: h\r\n\r\n"
