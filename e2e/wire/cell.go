package wire

import (
	"slices"

	"github.com/remorahq/remora/e2e/load"
)

// Kind is a column of the matrix: a kind of traffic.
type Kind string

// The columns.
const (
	Get       Kind = "GET"
	Post      Kind = "POST"
	Upload    Kind = "upload"
	Chunked   Kind = "chunked"
	SSE       Kind = "SSE"
	Poll      Kind = "long poll"
	WebSocket Kind = "WebSocket"
	GRPC      Kind = "gRPC"
	TCP       Kind = "TCP"
)

// Kinds are all columns.
func Kinds() []Kind {
	return []Kind{Get, Post, Upload, Chunked, SSE, Poll, WebSocket, GRPC, TCP}
}

// Of are the kinds of clients that make up a column.
func (k Kind) Of() []load.Kind {
	return map[Kind][]load.Kind{
		Get: {load.Get}, Post: {load.Post}, Upload: {load.Put, load.Upload}, Chunked: {load.Chunked}, SSE: {load.Events},
		Poll: {load.Poll}, WebSocket: {load.WebSocket}, GRPC: {load.GRPC}, TCP: {load.TCP, load.Greeted},
	}[k]
}

// column is the one that a kind of clients belongs to.
func column(k load.Kind) Kind {
	i := slices.IndexFunc(Kinds(), func(c Kind) bool { return slices.Contains(c.Of(), k) })
	if i < 0 {
		return ""
	}
	return Kinds()[i]
}

// Event is a row of the matrix: what happens meanwhile, again and again.
type Event string

// The rows.
const (
	Switch    Event = "switch"           // another release, started first, gets the traffic
	Rollback  Event = "rollback"         // back and forth to a standby, also while it drains
	Canary    Event = "canary step"      // a growing share goes to another release, then all
	Deadline  Event = "drain deadline"   // a switch that does not wait for what runs
	Kill      Event = "backend SIGKILL"  // one of two instances dies, and another is started
	Fall      Event = "release SIGKILL"  // both instances die, and a standby is there
	Pause     Event = "backend pause"    // one of two instances is frozen for a while
	Reuse     Event = "IP reuse"         // the address of what has ended is another container's at once
	KeepAlive Event = "short keep-alive" // backends close what was idle for 20 ms
	Upgrade   Event = "upgrade"          // another worker of the ambassador takes over
	Crash     Event = "worker SIGKILL"   // the ambassador's worker dies
	Agent     Event = "agent SIGKILL"    // the agent dies, on a real engine
)

// Outnumbered is an incident and no row: an upgrade that makes one predecessor
// too many, so that the oldest ends what it still has.
const Outnumbered Event = "outnumbered"

// Events are all rows.
func Events() []Event {
	return []Event{Switch, Rollback, Canary, Deadline, Kill, Fall, Pause, Reuse, KeepAlive, Upgrade, Crash, Agent}
}
