package reconciler

import (
	"encoding/json"
	"log/slog"
	"net/netip"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
)

// Config is what a Reconciler is made of: the host file and the ports.
type Config struct {
	Host   manifests.Host
	Engine Engine
	// Traffic is the ambassador.
	Traffic Traffic
	// Certificates may be nil: then there are none.
	Certificates Certificates
	// Sources by the name of the host file's source.
	Sources    map[string]Source
	Loader     Loader
	Content    Content
	Namespaces Namespaces
	Gate       Gate
	Journal    Journal
	// Judge is the host's policy on a source's final create payload.
	Policy func(source string) manifests.Policy
	Logger *slog.Logger
	// Render is the create payload as the engine would be sent it.
	Render func(c engine.Create) (json.RawMessage, error)
	// BootID is the kernel's.
	BootID string
	// Version of this agent.
	Version string
	// KeepClient says that the host can bring answers to clients back, so that
	// tunnels may come from the clients' own addresses.
	KeepClient bool
	// UsedPrefixes are the host's routes, which networks must not overlap.
	UsedPrefixes func() []netip.Prefix
	// PortBusy says that another program holds a TCP port of the host.
	PortBusy func(port uint16) bool
	// BeforeAction is called before each action with its name, in order to cut
	// the process off at every step in a test; nil otherwise.
	BeforeAction func(name string)
	// Now is the clock; default time.Now.
	Now func() time.Time
}
