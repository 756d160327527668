package page

// Code names a reason in the field Remora-Reason, access logs and metrics.
type Code string

// The reasons for which the ambassador answers itself.
const (
	NoRoute      Code = "no-route"
	Unpublished  Code = "unpublished"
	NoService    Code = "no-service"
	NoRelease    Code = "no-release"
	NoInstance   Code = "no-instance"
	Unreachable  Code = "unreachable"
	NoAnswer     Code = "no-answer"
	BadAnswer    Code = "bad-answer"
	Ended        Code = "release-ended"
	Held         Code = "held"
	TooManyHeld  Code = "too-many-held"
	Stopping     Code = "stopping"
	Maintenance  Code = "maintenance"
	Denied       Code = "denied"
	RateLimited  Code = "rate-limited"
	Busy         Code = "busy"
	BadRequest   Code = "bad-request"
	SlowRequest  Code = "slow-request"
	TooLarge     Code = "too-large"
	HeadTooLarge Code = "head-too-large"
	Misdirected  Code = "misdirected"
	HTTPSOnly    Code = "https-only"
	PlainOnTLS   Code = "plain-on-tls"
	Unsupported  Code = "unsupported"
)

// The reasons of an end that needs no answer.
const (
	// ClientLeft is a client that did not wait for the answer or its end.
	ClientLeft Code = "client-left"
	// BrokenOff is an answer that the container did not finish.
	BrokenOff Code = "broken-off"
	// Kicked is what a drain's deadline ended after its answer had begun.
	Kicked Code = "kicked"
)

// Reason is a code with its words.
type Reason struct {
	Code   Code
	Status int
	Title  string
	// Text says what happened, Visitor what one can do about it, Operator what
	// the person who runs the host can.
	Text, Visitor, Operator string
	// RetryAfter in seconds is worth a try; 0 says nothing.
	RetryAfter int
}

// Words that several reasons share.
const (
	tryAgain = "Try again in a moment."
	mayBe    = "If you sent or bought something, check whether that was done before you try again."
	status   = "`remora status` shows the service and what it waits for."
)

// Reasons are all there are.
func Reasons() []Reason { return append([]Reason(nil), table[:]...) }

// Count is how many there are.
const Count = len(table)

// Index numbers a code, from 0 to below [Count]; -1 is none of them.
func Index(code Code) int {
	for i := range table {
		if table[i].Code == code {
			return i
		}
	}
	return -1
}

var table = [...]Reason{
	{NoRoute, 404, "Nothing here", "No site is served at this address.", "Check the address for a typing error.", "No route of this port leads from this host name and path: `remora routes` lists them.", 0},
	{Unpublished, 503, "Not served any more", "This address was served until a moment ago, and is not any more.", tryAgain, "The listener is in no manifest any more.", 5},
	{NoService, 503, "Not available", "What belongs to this address is not there.", tryAgain, "The route leads to a service that is not in the table: `remora status` says why.", 5},
	{NoRelease, 503, "Starting", "This service has not started yet.", tryAgain, "No release is active yet. " + status, 5},
	{NoInstance, 503, "Not running", "This service is not running at the moment.", tryAgain, "No container of the active release runs. " + status, 5},
	{Unreachable, 502, "Not reachable", "This service does not take connections at the moment. Nothing was sent to it.", tryAgain, "Every container refused the connection or took too long: does the program listen on this port, on all addresses?", 5},
	{NoAnswer, 502, "No answer", "The service broke the connection off before it answered.", mayBe, "The container closed the connection after the request: its log says more (`remora logs`). A request that may do something twice is not sent again.", 0},
	{BadAnswer, 502, "Bad answer", "The service answered with something that is not HTTP.", mayBe, "What listens on this port does not speak HTTP/1.1, or wrongly: see app_protocol.", 0},
	{Ended, 504, "Took too long", "The service was replaced before it had answered.", mayBe, "The request was still open when the release's drain ended: x-remora.drain gives more time.", 0},
	{Held, 503, "Being replaced", "This service is being replaced, and that takes longer than usual.", tryAgain, "The request waited for hold_requests. " + status, 5},
	{TooManyHeld, 503, "Being replaced", "This service is being replaced, and too many wait for it already.", tryAgain, "As many requests wait as may. " + status, 5},
	{Stopping, 503, "Restarting", "This server is restarting.", tryAgain, "The ambassador is being stopped.", 5},
	{Maintenance, 503, "Under maintenance", "This service is being worked on.", "Come back later.", "`remora maintenance APP off` ends it.", 60},
	{Denied, 403, "Not allowed", "This address is not open to you.", "Use the network from which it may be used, or ask who runs it.", "The client's address is not in the route's allow list.", 0},
	{RateLimited, 429, "Too many requests", "Your address sends more requests than are taken.", "Slow down, and try again in a moment.", "The route has a rate for each client address.", 1},
	{Busy, 503, "Too busy", "As many requests are being served as can be.", tryAgain, "The route's max_connections is reached.", 1},
	{BadRequest, 400, "Bad request", "The request is not correct HTTP.", "Use another program, or tell those who wrote it.", "", 0},
	{SlowRequest, 408, "Too slow", "The request did not come in time.", "Try again on a better connection.", "limits.header and limits.body_rate of the host file say how slow one may be.", 0},
	{TooLarge, 413, "Too large", "The request is larger than is taken.", "Send less at once.", "", 0},
	{HeadTooLarge, 431, "Too large", "The request has more or longer header fields than are taken.", "Deleting this site's cookies often helps.", "A head may have 16 KiB and 100 fields.", 0},
	{Misdirected, 421, "Wrong connection", "This connection was opened for another host name.", "Open the address in a new connection.", "The host name asks for another client certificate than the connection's.", 0},
	{HTTPSOnly, 308, "Moved to https", "This address is served over https.", "Follow the redirection.", "The route has tls; `redirect: false` serves it over http too.", 0},
	{PlainOnTLS, 400, "https only", "This port takes https only.", "Begin the address with https://.", "", 0},
	{Unsupported, 501, "Not supported", "The request asks for something that is not supported.", "Use another program, or tell those who wrote it.", "", 0},
	{ClientLeft, 499, "Client left", "The client did not wait for the answer.", "", "", 0},
	{BrokenOff, 0, "Broken off", "The container did not finish its answer.", "", "The container's log says more (`remora logs`).", 0},
	{Kicked, 0, "Ended", "The drain's deadline ended it.", "", "x-remora.drain and drain_tunnels give more time.", 0},
}

// Of finds a reason. A code that is not in the table is an answer without
// words.
func Of(code Code) Reason {
	if i := Index(code); i >= 0 {
		return table[i]
	}
	return Reason{Code: code, Status: 500, Title: "Refused", Text: "The request was refused."}
}

// ForStatus is the reason of a request that HTTP itself refuses with a status.
func ForStatus(status int) Code {
	switch status {
	case 403:
		return Denied
	case 404:
		return NoRoute
	case 408:
		return SlowRequest
	case 413:
		return TooLarge
	case 421:
		return Misdirected
	case 429:
		return RateLimited
	case 431:
		return HeadTooLarge
	case 502:
		return Unreachable
	case 503:
		return Busy
	case 504:
		return Ended
	}
	if status >= 500 {
		return Unsupported
	}
	return BadRequest
}
