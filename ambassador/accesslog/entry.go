package accesslog

import (
	"net/netip"
	"time"
)

// Entry is what is known of a request or a tunnel at its end. Its texts may be
// what a stranger sent, and may point into buffers: nothing of an entry is kept.
type Entry struct {
	// Time is the arrival of the first byte.
	Time   time.Time
	Client netip.Addr
	// Port is the listener's.
	Port uint16
	// Protocol is "http/1.0", "http/1.1", "h2", "websocket" or "tunnel".
	Protocol string
	// Method is empty for a tunnel.
	Method string
	Host   []byte
	// Path may have a query, which is not written: see the package's comment.
	Path      []byte
	Referer   []byte
	UserAgent []byte
	// Status is 499 where the client left before the answer, and 0 for a
	// tunnel that is not HTTP's.
	Status int
	// In and Out count the bytes of bodies and tunnels as the client sent and
	// got them, with the heads where they went out together.
	In, Out uint64
	// Duration is from Time to the end, FirstByte to the first byte of the
	// answer, and Connect what dialling took; 0 is none.
	Duration, FirstByte, Connect time.Duration
	// Route is the route's host and path, Service, Release and Container where it
	// led in the end.
	Route, Service, Release, Container string
	// Attempts counts how often it was sent; Replayed says that one that had been
	// sent whole was sent again.
	Attempts int
	Replayed bool
	// Why is a reason code where the ambassador decided something, else empty.
	Why string
	// Generation is that of the table in force.
	Generation uint64
	// TLS is "1.2" or "1.3", ServerName what the client asked for.
	TLS        string
	ServerName string
}
