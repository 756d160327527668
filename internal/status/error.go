package status

// Kind sorts the errors that the agent answers a caller with.
type Kind string

// The kinds of [Error].
const (
	// Invalid is a request that cannot be carried out as it is written.
	Invalid Kind = "invalid"
	// NotFound names an app, service, release or route that does not exist.
	NotFound Kind = "not-found"
	// Conflict is a request that the present state does not allow.
	Conflict Kind = "conflict"
	// Denied is a request that the caller may not make.
	Denied Kind = "denied"
	// Unavailable is a request that may succeed later: the engine is away, the
	// agent is starting.
	Unavailable Kind = "unavailable"
)

// Error is an error for the person who asked: what, why and what to do. It
// travels through the API unchanged.
type Error struct {
	Kind    Kind   `json:"kind,omitempty"`
	Message string `json:"error"`
	Reason  Reason `json:"reason,omitempty"`
	Remedy  string `json:"remedy,omitempty"`
}

// Error returns the message and, where there is one, the remedy.
func (e *Error) Error() string {
	if e.Remedy == "" {
		return e.Message
	}
	return e.Message + "; " + e.Remedy
}
