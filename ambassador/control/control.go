// Package control is the ambassador's control API: HTTP and JSON over a unix
// socket, versioned by path. [Client] is what the agent and the command line
// use; [Serve] is the worker's side.
//
//	PUT  /v1/table    replace the table           → traffic.Ack
//	GET  /v1/table    the table in force          → traffic.Table
//	PUT  /v1/certificates  replace all certificates
//	GET  /v1/certificates  what they are, without keys → []traffic.CertificateReport
//	GET  /v1/report   the state of all workers    → traffic.Report
//	GET  /v1/watch    a report at every change, as server-sent events
//	GET  /v1/explain  what becomes of a URL       → traffic.Explanation
//	GET  /v1/metrics  Prometheus text
//	POST /v1/upgrade  start a new worker from the program's file
//
// A caller is let in by its user id (SO_PEERCRED). The package knows values of
// internal/traffic and nothing of how they are served.
package control

import (
	"errors"
	"fmt"

	"github.com/remorahq/remora/internal/traffic"
)

// maxTable bounds a table's JSON form.
const maxTable = 64 << 20

// ErrNotPersisted says that a table is served but could not be written to
// disk: a restarted ambassador would serve the former one. The writer must not
// retire what that one refers to, and puts the table again.
var ErrNotPersisted = errors.New("table is served but not on disk")

// ErrNotLeading is returned by a [Backend] whose successor answers now.
var ErrNotLeading = errors.New("another worker leads now")

// StaleError refuses a table whose generation is not higher than the one in
// force, unless it is the very same table.
type StaleError struct {
	// Current is the generation in force.
	Current uint64 `json:"current"`
	// Refused is the generation that was put.
	Refused uint64 `json:"refused"`
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("table generation %d is not above %d, which is in force", e.Refused, e.Current)
}

// failure is the body of an answer that is not a success.
type failure struct {
	Error        string       `json:"error"`
	Stale        *StaleError  `json:"stale,omitempty"`
	NotPersisted bool         `json:"notPersisted,omitempty"`
	Ack          *traffic.Ack `json:"ack,omitempty"`
}
