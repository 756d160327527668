package traffic

import "time"

// Ack answers a table: what the ambassador now serves, and what of it failed.
// One bad listener does not take the others down.
type Ack struct {
	Generation uint64          `json:"generation"`
	Failures   []ListenFailure `json:"failures,omitempty"`
}

// ListenFailure is a listener that could not be opened.
type ListenFailure struct {
	ListenerKey
	Owner string `json:"owner"`
	Error string `json:"error"`
	// InUse says that another program holds the port.
	InUse bool `json:"inUse,omitempty"`
}

// ListenWarning is what a listener does not do as it should.
type ListenWarning struct {
	ListenerKey
	Owner string `json:"owner"`
	// Text says it to a person, with the remedy.
	Text string `json:"text"`
}

// Report is the state of the data plane, as of one moment, merged over every
// live worker: a release is drained only when all of them say so.
type Report struct {
	Version    string          `json:"version"`
	Generation uint64          `json:"generation"`
	BootID     string          `json:"bootID"`
	Started    time.Time       `json:"started"`
	Workers    int             `json:"workers"`
	Services   []ServiceReport `json:"services"`
	Failures   []ListenFailure `json:"failures,omitempty"`
	// Names are server names that cannot be served.
	Names []NameFailure `json:"names,omitempty"`
	// Warnings are listeners that serve, but not in all as they should.
	Warnings []ListenWarning `json:"warnings,omitempty"`
	// Fenced says that the table's boot ID or engine start is not this one
	// and endpoints without a fixed address are unverified.
	Fenced bool `json:"fenced,omitempty"`
}

// ServiceReport reports one service.
type ServiceReport struct {
	Name     string          `json:"name"`
	Held     int             `json:"held"`
	Releases []ReleaseReport `json:"releases"`
	// ServerFirst lists the ports whose server was seen to speak first.
	ServerFirst []uint16 `json:"serverFirst,omitempty"`
	// Retries counts requests sent to another instance because nothing had been
	// sent, Replays those sent again after they had been, and Ejections the times
	// that an instance was put last for refusing or not answering.
	Retries   uint64 `json:"retries,omitempty"`
	Replays   uint64 `json:"replays,omitempty"`
	Ejections uint64 `json:"ejections,omitempty"`
}

// ReleaseReport reports one release. Counters only grow while the release is
// in the table.
type ReleaseReport struct {
	Name  string       `json:"name"`
	State ReleaseState `json:"state"`
	// Inflight counts requests, Tunnels counts TCP connections, upgraded
	// connections and event streams that go on.
	Inflight int `json:"inflight"`
	Tunnels  int `json:"tunnels"`
	// Drained says that no worker of any generation has a request or tunnel on
	// it, nor can begin one.
	Drained bool `json:"drained"`
	// RequestsDrained is Drained without regard to tunnels.
	RequestsDrained bool             `json:"requestsDrained"`
	Endpoints       []EndpointReport `json:"endpoints"`
	Requests        uint64           `json:"requests"`
	Errors5xx       uint64           `json:"errors5xx"`
	ConnectErrors   uint64           `json:"connectErrors"`
	BytesIn         uint64           `json:"bytesIn"`
	BytesOut        uint64           `json:"bytesOut"`
	// Spilled counts requests that left this release for the standby.
	Spilled uint64 `json:"spilled"`
	// Mirrored counts copies of requests that it got, MirrorErrors those of them
	// that got no answer or a 5xx, and Unmirrored those that there was no room
	// for.
	Mirrored     uint64 `json:"mirrored,omitempty"`
	MirrorErrors uint64 `json:"mirrorErrors,omitempty"`
	Unmirrored   uint64 `json:"unmirrored,omitempty"`
	// Lent counts assets that it gave because another release had none.
	Lent uint64 `json:"lent,omitempty"`
}

// EndpointReport reports one endpoint's checks.
type EndpointReport struct {
	Container string    `json:"container"`
	Started   time.Time `json:"started"`
	// Warm says that `rise` good checks in a row passed on every probe.
	Warm bool `json:"warm"`
	// Good is Warm and not failed or ejected since.
	Good bool `json:"good"`
	// LastError is the last failed check as a person reads it, such as
	// "GET /up: 500", and Failures how often in a row.
	LastError string `json:"lastError,omitempty"`
	// Ejected says that it gets requests only where there is no other, because it
	// did not answer several in a row.
	Ejected   bool      `json:"ejected,omitempty"`
	Failures  int       `json:"failures,omitempty"`
	LastCheck time.Time `json:"lastCheck,omitzero"`
	// Checked counts the checks made.
	Checked uint64 `json:"checked"`
}
