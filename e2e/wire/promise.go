package wire

import (
	"slices"
	"time"

	"github.com/remorahq/remora/e2e/load"
)

// Promise is what a cell promises. Whatever it says, no answer is wrong or
// another container's, no connection is refused, and nothing that is not
// idempotent reaches a backend twice.
type Promise struct {
	// Word is one of [Legend].
	Word string
	// Max bounds the time of an answer, without the backend's own.
	Max time.Duration
	// closing allows answers that announce the connection's end.
	closing bool
	// again allows answers that are replayed to take the backend's own time
	// twice.
	again bool
	// other is what else than an answer may become of a request or session.
	other []exception
}

// exception allows causes to what an incident struck.
type exception struct {
	kinds  []load.Kind // empty is all of the column
	causes []load.Cause
	at     Event
	// session judges by when the connection began, not by when the request was
	// sent: whoever does not look at an idle connection learns late that it ended.
	session bool
}

func (e exception) covers(k load.Kind, c load.Cause) bool {
	return (len(e.kinds) == 0 || slices.Contains(e.kinds, k)) && slices.Contains(e.causes, c)
}

// The bounds.
const (
	// startFirst is for all in which there is an instance to answer.
	startFirst = 250 * time.Millisecond
	// restart is until a dead worker's successor serves.
	restart = 300 * time.Millisecond
	// Freeze is how long an instance is paused.
	Freeze = 400 * time.Millisecond
)

// Legend says what the words of promises mean.
func Legend() [][2]string {
	return [][2]string{
		{"all", "every request is answered, rightly and once"},
		{"whole", "every stream goes on to its own end where it began"},
		{"stays", "every connection stays with its release until its client closes it; at an upgrade only the fifth predecessor of a worker says goodbye to what it still has, as at the drain deadline"},
		{"replayed", "every request is answered: what was under way is sent again to another instance or release, up to three times"},
		{"504", "answered, or 504 when it was under way at the deadline"},
		{"502", "answered, or 502 when it was under way on the instance that died; PUT that fits the replay buffer is replayed"},
		{"clean end", "whole, or ended by the last chunk at the deadline; one that has not begun is replayed"},
		{"cut", "whole, or visibly broken off when the instance that sent it died; one that has not begun is replayed"},
		{"1012", "close frame 1012 between two frames at the deadline, never in the middle of one; a handshake under way gets 504"},
		{"FIN", "a clean end between two lines at the deadline"},
		{"14", "answered, or status 14 when the call was under way"},
		{"breaks", "connections to the instance that died break; those to the others stay"},
		{"held", "answered, by another instance or when the frozen one goes on"},
		{"waits", "what goes on with the frozen instance waits for it and loses nothing"},
		{"announced", "every request is answered; `Connection: close` or GOAWAY tells a client to come to the successor"},
		{"lost if open", "connections that were open end, with what was under way on them; every one made from then on is answered within 300 ms (of a worker that lived for 5 s; one that dies on and on is restarted ever later)"},
		{"as those", "by turns as at the drain deadline and as when an instance dies; never another container's answer"},
	}
}

// Promised is the promise of a cell.
func Promised(k Kind, e Event) Promise {
	switch e {
	case Deadline:
		return deadline(k)
	case Kill, Fall:
		return kill(k)
	case Reuse:
		return Promise{Word: "as those", Max: startFirst, again: true, other: slices.Concat(deadline(k).other, kill(k).other)}
	case Pause:
		return frozen(k)
	case Upgrade:
		return upgrade(k)
	case Crash:
		return crash()
	default:
		return nothing(k)
	}
}

// nothing is the promise that nothing is noticed.
func nothing(k Kind) Promise {
	p := Promise{Word: "all", Max: startFirst}
	switch k {
	case SSE:
		p.Word = "whole"
	case WebSocket, TCP:
		p.Word = "stays"
	default:
	}
	return p
}

func deadline(k Kind) Promise {
	p := Promise{Word: "504", Max: startFirst, again: true}
	allow := func(kinds []load.Kind, causes ...load.Cause) {
		p.other = append(p.other, exception{kinds: kinds, causes: causes, at: Deadline, session: k == WebSocket || k == TCP})
	}
	switch k {
	case Get, Poll:
		p.Word = "replayed"
	case Upload:
		allow([]load.Kind{load.Upload}, load.Status(504))
	case SSE:
		p.Word = "clean end"
		allow(nil, load.Short)
	case WebSocket:
		p.Word = "1012"
		allow(nil, load.Code(1012), load.Status(504))
	case TCP:
		p.Word = "FIN"
		allow(nil, load.Farewell)
	case GRPC:
		p.Word = "14"
		allow(nil, "grpc-14")
	default:
		allow(nil, load.Status(504))
	}
	return p
}

func kill(k Kind) Promise {
	p := Promise{Word: "502", Max: startFirst, again: true}
	allow := func(session bool, kinds []load.Kind, causes ...load.Cause) {
		p.other = append(p.other, exception{kinds: kinds, causes: causes, at: Kill, session: session})
	}
	switch k {
	case Get, Poll:
		p.Word = "replayed"
	case Upload:
		allow(false, []load.Kind{load.Upload}, load.Status(502))
	case SSE:
		p.Word = "cut"
		allow(false, nil, load.Truncated)
	case WebSocket:
		p.Word = "breaks"
		allow(true, nil, load.Hangup, load.Reset, load.Truncated, load.Status(502))
	case TCP:
		p.Word = "breaks"
		allow(true, nil, load.Hangup, load.Reset, load.Truncated, load.Farewell)
	case GRPC:
		p.Word = "14"
		allow(false, nil, "grpc-14")
	default:
		allow(false, nil, load.Status(502))
	}
	return p
}

func frozen(k Kind) Promise {
	p := Promise{Word: "held", Max: Freeze + startFirst}
	if k == SSE || k == WebSocket || k == TCP {
		p.Word = "waits"
	}
	return p
}

// upgrade also allows the end of what the predecessor too many still has.
func upgrade(k Kind) Promise {
	p := nothing(k)
	for _, e := range deadline(k).other {
		e.at, e.session = Outnumbered, true
		p.other = append(p.other, e)
	}
	if k == WebSocket || k == TCP {
		return p
	}
	p.Word, p.closing = "announced", true
	if k == GRPC {
		p.other = append(p.other, exception{causes: []load.Cause{load.GoAway}, at: Upgrade, session: true})
	}
	return p
}

func crash() Promise {
	return Promise{Word: "lost if open", Max: restart, other: []exception{{
		causes: []load.Cause{load.Hangup, load.Reset, load.Truncated, load.Farewell}, at: Crash, session: true,
	}}}
}
