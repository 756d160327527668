package traffic

import (
	"fmt"
	"strings"
)

// Explanation says what the ambassador would do with a request for a URL now,
// and why. Fields are filled as far as the request would come.
type Explanation struct {
	URL        string `json:"url"`
	Generation uint64 `json:"generation"`
	// Listener is the one that takes the connection, as ":443", and Protocol how.
	Listener string   `json:"listener,omitempty"`
	Protocol Protocol `json:"protocol,omitempty"`
	// TLS is what becomes of a https URL's handshake.
	TLS string `json:"tls,omitempty"`
	// Route is the host and path of the route, Chosen why it is that one, and
	// Others which of the listener's routes would match, too.
	Route  string   `json:"route,omitempty"`
	Chosen string   `json:"chosen,omitempty"`
	Others []string `json:"others,omitempty"`
	// Limits are those of the route, as sentences.
	Limits  []string `json:"limits,omitempty"`
	Service string   `json:"service,omitempty"`
	Port    uint16   `json:"port,omitempty"`
	// Release would get the request, for the reason that Picked gives.
	Release string `json:"release,omitempty"`
	Picked  string `json:"picked,omitempty"`
	// Instances are those of the release.
	Instances []InstanceExplanation `json:"instances,omitempty"`
	// Refused is why the ambassador would answer itself, nil where it would not.
	Refused *RefusalExplanation `json:"refused,omitempty"`
	// Waits is why the request would wait, behind so many as Held says.
	Waits string `json:"waits,omitempty"`
	Held  int    `json:"held,omitempty"`
}

// RefusalExplanation is an answer of the ambassador's own.
type RefusalExplanation struct {
	// Step is where the request would end: "listener", "tls", "route", "access" or
	// "release".
	Step   string `json:"step"`
	Reason string `json:"reason"`
	Status int    `json:"status,omitempty"`
	Text   string `json:"text"`
	// Remedy is for the operator.
	Remedy string `json:"remedy,omitempty"`
}

// InstanceExplanation is one instance as the choice among them sees it.
type InstanceExplanation struct {
	Container string `json:"container"`
	Instance  string `json:"instance"`
	Address   string `json:"address"`
	// State is "good", "unchecked", "failing", "refusing", "ejected", "down",
	// "paused" or "unverified".
	State     string `json:"state"`
	LastError string `json:"lastError,omitempty"`
	Inflight  int    `json:"inflight"`
	// Chosen says that it would be the one now; the next request may take
	// another.
	Chosen bool `json:"chosen,omitempty"`
}

// Step is one line of an explanation. The first that is not OK is where a
// request would end or wait.
type Step struct {
	Name, Text string
	OK         bool
	// Remedy, where it is not OK, is what an operator can do.
	Remedy string
}

// Steps tells an explanation in the order in which a request goes.
func (e *Explanation) Steps() []Step {
	var list []Step
	add := func(name string, texts ...string) {
		if r := e.Refused; r != nil && r.Step == name {
			text := r.Text
			if r.Status != 0 {
				text = fmt.Sprintf("answered %d %s: %s", r.Status, r.Reason, r.Text)
			}
			list = append(list, Step{Name: name, Text: text, Remedy: r.Remedy})
			return
		}
		if text := strings.Join(texts, "; "); text != "" {
			list = append(list, Step{Name: name, Text: text, OK: true})
		}
	}
	add("listener", e.Listener+prefixed(", protocol ", string(e.Protocol))+fmt.Sprintf(", table %d", e.Generation))
	add("tls", e.TLS)
	add("route", e.Route+prefixed(": ", e.Chosen))
	add("access", e.Limits...)
	if e.Service != "" {
		add("service", fmt.Sprintf("%s, port %d", e.Service, e.Port))
	}
	if e.Waits != "" {
		return append(list, Step{Name: "release", Text: fmt.Sprintf("requests wait (%d do): %s", e.Held, e.Waits)})
	}
	add("release", ShortRelease(e.Release)+prefixed(": ", e.Picked))
	add("instance", e.instances()...)
	if last := &list[len(list)-1]; e.Refused == nil && last.Name == "instance" && e.refuses() {
		last.OK, last.Remedy = false, "does the program listen on this port, on all addresses? `remora logs` shows what it says"
	}
	return list
}

// refuses says that not even the best instance takes connections.
func (e *Explanation) refuses() bool {
	for _, i := range e.Instances {
		if i.Chosen {
			return i.State == "refusing"
		}
	}
	return false
}

func (e *Explanation) instances() []string {
	var list []string
	for _, i := range e.Instances {
		text := fmt.Sprintf("%s %s, %d in flight", i.Container[:min(12, len(i.Container))], i.State, i.Inflight)
		if i.LastError != "" {
			text += " (" + i.LastError + ")"
		}
		if i.Chosen {
			text = "→ " + text
		}
		list = append(list, text)
	}
	return list
}

func prefixed(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}
