package reconciler

import (
	"context"
	"io"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/plan"
)

// Containers is what the reconciler needs of the engine's containers. All
// calls are idempotent; errors are those of package engine.
type Containers interface {
	Containers(ctx context.Context) ([]engine.Container, error)
	Container(ctx context.Context, id string) (engine.Container, error)
	Create(ctx context.Context, c engine.Create) (id string, err error)
	Start(ctx context.Context, id string) error
	Stop(ctx context.Context, id, signal string, grace time.Duration) error
	Kill(ctx context.Context, id, signal string) error
	Pause(ctx context.Context, id string) error
	Unpause(ctx context.Context, id string) error
	Rename(ctx context.Context, id, name string) error
	Remove(ctx context.Context, id string) error
	SetRestart(ctx context.Context, id, policy string) error
	Exec(ctx context.Context, id string, h manifests.Hook, timeout time.Duration) (engine.Output, error)
	Logs(ctx context.Context, id string, tail int64) (engine.Output, error)
	// FollowLogs writes a container's output as it comes.
	FollowLogs(ctx context.Context, id string, opts engine.LogOptions, w io.Writer) error
}

// Images is what the reconciler needs of the engine's images.
type Images interface {
	// Resolve asks the registry for the digest of a reference.
	Resolve(ctx context.Context, ref, platform string) (digest string, err error)
	// Image returns a local image, or engine.ErrNotFound.
	Image(ctx context.Context, ref string) (engine.Image, error)
	Pull(ctx context.Context, ref, platform string, progress func(engine.Progress)) (engine.Image, error)
	RemoveImage(ctx context.Context, id string) error
}

// Networks is what the reconciler needs of the engine's networks and volumes.
type Networks interface {
	Networks(ctx context.Context) ([]engine.Network, error)
	EnsureNetwork(ctx context.Context, n engine.NetworkSpec) (engine.Network, error)
	RemoveNetwork(ctx context.Context, name string) error
	Volumes(ctx context.Context) ([]engine.Volume, error)
	EnsureVolume(ctx context.Context, v engine.VolumeSpec) error
}

// Engine is the container engine of this host.
type Engine interface {
	Containers
	Images
	Networks
	Info(ctx context.Context) (engine.Info, error)
	// Events begins with a Resync and gives one after every gap; it is closed
	// when ctx ends.
	Events(ctx context.Context) <-chan engine.Event
}

// Traffic is the ambassador, seen from the agent.
type Traffic interface {
	// Apply hands over a table; it returns when every live worker serves it.
	Apply(ctx context.Context, t traffic.Table) (traffic.Ack, error)
	Report(ctx context.Context) (traffic.Report, error)
	// Table is the table in force; its generation is 0 where there is none.
	Table(ctx context.Context) (traffic.Table, error)
	// Explain says what would become of a request for a URL.
	Explain(ctx context.Context, url string) (traffic.Explanation, error)
	// Watch gives a report at every change that matters; it is closed when ctx
	// ends.
	Watch(ctx context.Context) <-chan traffic.Report
}

// Certificates are what the agent keeps for the ambassador to end TLS with, by
// the names that the table gives them.
type Certificates interface {
	// Challenges are where certificate authorities are answered.
	Challenges() plan.ACME
	// Ready says whether there is a certificate; asking begins to keep it.
	Ready(name string) bool
	// Trouble says what is wrong with one, empty for nothing, and Warnings what
	// people should know of one that is in force.
	Trouble(name string) string
	Warnings(name string) []string
	// Changes gets a value after any of this changed.
	Changes() <-chan struct{}
}

// Source is a git repository or a local folder.
type Source interface {
	// Current is the revision in force, also right after a restart; zero for
	// none.
	Current() status.Revision
	// Fetch looks for a newer revision and makes it current.
	Fetch(ctx context.Context) (status.Revision, error)
	// Changes fires when a Fetch is due: the poll's interval, an edit.
	Changes(ctx context.Context) <-chan struct{}
	// Prune removes former revisions that keep does not name.
	Prune(ctx context.Context, keep func(sha string) bool) error
}

// Loader turns a revision's folder into apps, in a process of its own.
type Loader interface {
	Load(ctx context.Context, req manifests.LoadRequest) (manifests.LoadResult, error)
}

// Content puts what a container mounts from the repository on this host's
// disk and returns where.
type Content interface {
	// Materialize counts what it finds in spent, unless that is nil, and fails
	// where an app mounts more than it may.
	Materialize(root string, f manifests.File, m manifests.Mount, spent *Spent) (path string, err error)
	Inline(m manifests.Mount) (path string, err error)
	DataDir(project, path string) (string, error)
	// Path is where Materialize or Inline puts a mount's content.
	Path(f manifests.File, m manifests.Mount) (string, error)
	// Prune removes the content that keep does not name.
	Prune(keep func(path string) bool) (removed int, err error)
}

// Spent counts what one app mounts from its repository.
type Spent struct {
	Files int
	Bytes int64
}

// Namespaces makes the network namespaces of service addresses.
type Namespaces interface {
	// Supported says why service addresses are not possible here, or nil.
	Supported() error
	Ensure(ctx context.Context, spec engine.NamespaceSpec) (path string, err error)
	Remove(ctx context.Context, name string) error
}

// Gate grants rollouts; on one host always.
type Gate interface {
	Acquire(ctx context.Context, app, revision, kind string) (granted bool, why string, err error)
	Release(ctx context.Context, app, revision string) error
}

// Journal keeps events and evidence.
type Journal interface {
	// Record stores an event, gives it its ID and time, and publishes it.
	Record(e status.Event) status.Event
	// Keep stores the evidence of a failed container.
	Keep(ev status.Evidence) error
}
