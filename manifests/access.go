package manifests

import "net/netip"

// Access is who may use a route and how much, and what may be done for a
// request that went wrong on it.
type Access struct {
	// Allow are the client addresses that may use the route; empty is all.
	Allow []netip.Prefix `json:"allow,omitempty"`
	// Rate bounds what one client address may ask for, and MaxConns the requests
	// and connections of all at once; none where zero.
	Rate     Rate `json:"rate,omitzero"`
	MaxConns int  `json:"maxConns,omitempty"`
	// Replay lets requests that are not idempotent be sent again, and Retry5xx
	// idempotent ones that got 502, 503 or 504 be tried on another instance.
	Replay   bool `json:"replay,omitempty"`
	Retry5xx bool `json:"retry5xx,omitempty"`
	// ServerTiming adds a Server-Timing field that says what was decided.
	ServerTiming bool `json:"serverTiming,omitempty"`
}

// Rate is how many requests, or connections of a port that is not HTTP, one
// client address may make: Burst at once, then PerSecond.
type Rate struct {
	PerSecond float64 `json:"perSecond,omitempty"`
	Burst     int     `json:"burst,omitempty"`
}
