// Package api is the agent's HTTP API on its unix socket and the Go client of
// it, which is all that the command line talks to.
//
// The server knows nothing of containers or git: it asks a [Backend] and the
// journal ([Events]) and passes on what they say. Who may connect is a matter
// of the socket's file permission; who did connect is taken from the kernel,
// never from the request, but for the name behind sudo, which only root may
// give. Errors travel as JSON: {"error", "reason", "remedy"}.
//
// Server and Client may be used from any goroutine. Stop returns after every
// request has ended and every goroutine of the server has exited.
package api

import (
	"context"
	"encoding/json"
	"io"

	"github.com/remorahq/remora/internal/status"
)

// Backend is the agent behind the API. Errors of type [*status.Error] reach
// the caller unchanged; any other is an internal one.
type Backend interface {
	// Status is the whole status of the host, as of now.
	Status(ctx context.Context) (status.Host, error)
	// Do carries a command out as far as accepting it: reconcile, deploy,
	// rollback, unpin, suspend, resume, retry, restart, stop, start, prune.
	Do(ctx context.Context, cmd status.Command) (status.Answer, error)
	// Plan says what a revision or folder would change.
	Plan(ctx context.Context, req status.PlanRequest) (status.Plan, error)
	// Render returns the exact create payloads of the containers.
	Render(ctx context.Context, req status.PlanRequest) ([]json.RawMessage, error)
	// Explain gives the chain of gates of an app, URL or container.
	Explain(ctx context.Context, subject string) (status.Explanation, error)
	// Routes lists what the ambassador listens for.
	Routes(ctx context.Context) ([]status.RouteRow, error)
	// History lists the rollouts of an app, newest first.
	History(ctx context.Context, app string) ([]status.HistoryEntry, error)
	// Logs writes the containers' output to w, line by line, until it ends or
	// ctx does.
	Logs(ctx context.Context, req status.LogRequest, w io.Writer) error
}

// Events is the journal, as the API reads it.
type Events interface {
	Subscribe(ctx context.Context, after uint64, f status.EventFilter) <-chan status.Event
	Recent(ctx context.Context, f status.EventFilter, limit int) ([]status.Event, error)
	Failed(app, service, release string) ([]status.Evidence, error)
	Last() uint64
	Trouble() string
}

// Version is the answer of /v1/version.
type Version struct {
	Version string `json:"version"`
	API     int    `json:"api"`
}

// apiVersion grows when a client of the former one would misread the answers.
const apiVersion = 1

// sudoHeader carries the name of the user behind sudo.
const sudoHeader = "Remora-Sudo-User"

// DefaultSocket is where the agent listens where nothing else is said.
const DefaultSocket = "/run/remora/agent.sock"
