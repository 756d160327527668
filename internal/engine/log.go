package engine

import "time"

// LogOptions choose what of a container's output is read.
type LogOptions struct {
	// Follow goes on until the container ends or the context is done.
	Follow bool
	// Lines is how many of the last lines come first; negative is all.
	Lines int
	// Since leaves out what is older; zero leaves out nothing.
	Since time.Time
	// Timestamps begins each line with the engine's time (RFC 3339).
	Timestamps bool
}
