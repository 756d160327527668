package status

import "time"

// Evidence is what is kept of a failed container.
type Evidence struct {
	Time        time.Time `json:"time"`
	Environment string    `json:"environment"`
	App         string    `json:"app"`
	Service     string    `json:"service"`
	Release     string    `json:"release"`
	Tag         string    `json:"tag"`
	Revision    string    `json:"revision"`
	Container   string    `json:"container"`
	Name        string    `json:"name"`
	ExitCode    int       `json:"exitCode"`
	OOMKilled   bool      `json:"oomKilled"`
	Health      string    `json:"health,omitempty"`
	HealthLog   string    `json:"healthLog,omitempty"`
	Probe       string    `json:"probe,omitempty"`
	Message     string    `json:"message"`
	// Output is the last 256 KiB of what the container wrote.
	Output []byte `json:"output"`
}
