package ambassador

import (
	"cmp"
	"net/http"
	"time"

	"github.com/remorahq/remora/ambassador/http1"
	"github.com/remorahq/remora/ambassador/page"
)

// refusal is why a request is not sent, or got no answer: a reason of package
// page and what there is to add.
type refusal struct {
	// code may be empty: then it is the one of status.
	code page.Code
	// status replaces the reason's; 0 keeps it.
	status int
	// text replaces the reason's sentence for visitors; strangers read it.
	text string
	// notice is what the operator wants visitors to read.
	notice     string
	retryAfter int // seconds; 0 keeps the reason's
	// fields are raw header lines for the answer, each with its CRLF.
	fields []byte
}

func refuse(code page.Code) *refusal { return &refusal{code: code} }

// refuseHTTP is the refusal of a request that HTTP's parser does not take.
func refuseHTTP(err *http1.Error) *refusal {
	return &refusal{status: err.Status, text: "The request was refused: " + err.Reason + "."}
}

func (r *refusal) Error() string { return cmp.Or(r.text, page.Of(r.reason()).Text) }

func (r *refusal) reason() page.Code {
	if r.code == "" {
		return page.ForStatus(r.status)
	}
	return r.code
}

// page makes the answer for a client that sent accept to a URL, either of which
// may be empty. It says when it was made (RFC 9110 §6.6.1).
func (r *refusal) page(accept []byte, url string) page.Page {
	p := page.Make(page.Answer{
		Code: r.reason(), Status: r.status, Detail: r.text, Notice: r.notice, RetryAfter: r.retryAfter,
		Accept: accept, URL: url,
	})
	p.Fields = append(p.Fields, page.Field{Name: "Date", Value: time.Now().UTC().Format(http.TimeFormat)})
	return p
}

// http1 makes the answer for HTTP/1.
func (r *refusal) http1(p page.Page) http1.Answer {
	a := http1.Answer{Status: p.Status, Body: p.Body}
	for _, f := range p.Fields {
		a.Fields = append(a.Fields, f.Name+": "+f.Value+"\r\n"...)
	}
	a.Fields = append(a.Fields, r.fields...)
	return a
}

// Why a request that was taken gets no answer of an instance.
var (
	errNoBody    = &refusal{code: page.SlowRequest, text: "The request's body did not come."}
	errKickedOut = refuse(page.Ended)
	errNotHTTP   = refuse(page.BadAnswer)
	errNoAnswer  = refuse(page.NoAnswer)
	// errUnreached says that every endpoint was tried.
	errUnreached = refuse(page.Unreachable)
)

// Why a request leads nowhere.
var (
	errUnpublished = refuse(page.Unpublished)
	errNoRoute     = refuse(page.NoRoute)
	errNoService   = refuse(page.NoService)
)
