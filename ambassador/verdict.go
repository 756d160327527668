package ambassador

import "time"

// verdict is what became of a request and why. The exchange fills it along the
// way; it is whole when done is called.
type verdict struct {
	route    *routeRuntime // nil: none was found
	rel      *release      // the last one claimed, nil: none was
	ep       *endpoint
	attempts int
	status   int    // of the answer, 0 without one
	ours     bool   // the answer is our own, and why says its reason
	why      string // a page.Code
	// bytesIn went to instances and bytesOut to the client, heads included.
	bytesIn, bytesOut int64
	// arrived is when the request's first byte came, sent when the last attempt
	// had written its head, answered when the answer's head had come; zero where
	// it did not come to that.
	arrived, sent, answered, ended time.Time
}

// done is called once at the end of every request, when its verdict is whole
// and the slices of conn.req are still valid.
func (x *exchange) done() {}
