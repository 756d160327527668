package app

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/remorahq/remora/ambassador/control"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
)

// ambassador is the data plane seen from here: the reconciler's Traffic port
// over the control socket, and, where no service manager does it, the start of
// its process.
type ambassador struct {
	host   manifests.Host
	log    *slog.Logger
	client *control.Client
	certs  *certificates
	// children are the processes that were started and have not ended; they
	// belong to ensure, and then to keep.
	children []*os.Process
}

// socket is where the ambassador is asked.
func (a *ambassador) socket() string { return filepath.Join(a.host.Run, "ambassador.sock") }

func newAmbassador(h manifests.Host, log *slog.Logger) *ambassador {
	return &ambassador{host: h, log: log, client: control.NewClient(filepath.Join(h.Run, "ambassador.sock"))}
}

func (a *ambassador) close() error {
	a.client.Close()
	return nil
}

// Apply hands over a table. The ways by which answers to clients come back are
// there before it is in force, and go after; so are the certificates that it
// names, and where they cannot be handed over the report says which names miss
// them.
func (a *ambassador) Apply(ctx context.Context, t traffic.Table) (traffic.Ack, error) {
	a.certs.want(&t)
	if err := a.certs.push(ctx); err != nil {
		a.log.Debug("certificates before a table", "err", err)
		a.certs.wake()
	}
	if err := openWays(&t); err != nil {
		a.log.Error("containers see the host's address instead of their clients'", "err", err)
		forgoWays(&t)
	}
	ack, err := a.client.Put(ctx, &t)
	if err != nil {
		return ack, err
	}
	a.certs.wantOnly(&t)
	if err := closeWays(&t); err != nil {
		a.log.Error("remove policy routes", "err", err)
	}
	return ack, nil
}

// Report asks for the present state.
func (a *ambassador) Report(ctx context.Context) (traffic.Report, error) {
	return a.client.Report(ctx)
}

// Explain asks what would become of a request for a URL.
func (a *ambassador) Explain(ctx context.Context, url string) (traffic.Explanation, error) {
	return a.client.Explain(ctx, url)
}

// Table asks for the table in force.
func (a *ambassador) Table(ctx context.Context) (traffic.Table, error) {
	t, err := a.client.Table(ctx)
	if err != nil {
		return traffic.Table{}, err
	}
	return *t, nil
}

// Watch gives a report at every change until ctx ends. A zero report says that
// no ambassador answers.
func (a *ambassador) Watch(ctx context.Context) <-chan traffic.Report {
	out := make(chan traffic.Report)
	go func() {
		defer close(out)
		a.watch(ctx, out)
	}()
	return out
}

func (a *ambassador) watch(ctx context.Context, out chan<- traffic.Report) {
	const first, most = 20 * time.Millisecond, time.Second
	pause := first
	for ctx.Err() == nil {
		a.certs.distrust()
		for rep, err := range a.client.Watch(ctx) {
			if err != nil {
				rep = traffic.Report{}
			} else {
				pause = first
			}
			select {
			case out <- rep:
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
			pause = min(most, pause*2)
		}
	}
}
