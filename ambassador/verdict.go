package ambassador

import (
	"time"

	"github.com/remorahq/remora/ambassador/accesslog"
	"github.com/remorahq/remora/ambassador/page"
)

// verdict is what became of a request and why. The exchange fills it along the
// way; it is whole when done is called.
type verdict struct {
	route    *routeRuntime // nil: none was found
	rel      *release      // the last one claimed, nil: none was
	ep       *endpoint
	attempts int
	status   int  // of the answer, 0 without one
	ours     bool // the answer is our own, and why says its reason
	why      page.Code
	svc      *service // that the route led to, nil: none was
	replayed bool     // what had been sent whole was sent again
	timing   bool     // the answer gets a Server-Timing field
	tunnel   bool     // it is no request
	lasting  bool     // it became a tunnel or a stream of events
	protocol string   // for the log, where it is not the connection's
	connect  time.Duration
	// bytesIn went to instances and bytesOut to the client, heads included.
	bytesIn, bytesOut int64
	// arrived is when the request's first byte came, sent when the last attempt
	// had written its head, answered when the answer's head had come; zero where
	// it did not come to that.
	arrived, sent, answered, ended time.Time
}

// done is called once at the end of every request, when its verdict is whole
// and the slices of conn.req are still valid.
func (x *exchange) done() {
	k, r := x.k, &x.k.req
	var e accesslog.Entry
	if k.wk.access.On() {
		e = k.entry()
		e.Protocol, e.Method, e.Host, e.Path = "http/1.1", r.Method, r.Host, r.Path
		if r.Minor == 0 {
			e.Protocol = "http/1.0"
		}
		e.Referer, e.UserAgent = r.Field("referer"), r.Field("user-agent")
	}
	k.wk.account(k.shard, &x.verdict, &e)
}
