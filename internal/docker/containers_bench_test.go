package docker_test

import (
	"context"
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/docker"
	"github.com/remorahq/remora/internal/engine"
)

// BenchmarkContainers reads a thousand containers: all of them, as after a
// gap, and with nothing changed, as each reconcile does. cpu-ms is this
// process's own.
func BenchmarkContainers(b *testing.B) {
	e := engines.Get(b, rig.Debian)
	d, err := docker.New(docker.Options{Host: e.Host(), ConfigDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.Close() })
	image := e.LoadImage(b, rig.Image{Name: "adapter:v1"})
	thousand(b, e, d, image)
	read := func(b *testing.B) {
		for b.Loop() {
			all, err := d.Containers(b.Context())
			if err != nil || len(all) < 1000 {
				b.Fatal(len(all), err)
			}
		}
	}
	b.Run("all", func(b *testing.B) { cpu(b, read) })
	events := d.Events(b.Context())
	<-events
	if _, err := d.Containers(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Run("unchanged", func(b *testing.B) { cpu(b, read) })
}

func thousand(b *testing.B, e *rig.Engine, d *docker.Engine, image string) {
	b.Helper()
	group, ctx := errgroup.WithContext(b.Context())
	group.SetLimit(4)
	for i := range 1000 {
		group.Go(func() error {
			name := fmt.Sprintf("bench-%d", i)
			_, err := d.Create(ctx, engine.Create{
				Name: name, Image: image, Restart: "no", Env: map[string]string{"N": name},
				Labels: map[string]string{engine.LabelApp: name, engine.LabelRelease: "a", engine.LabelInstance: "1", engine.LabelEnvironment: "p"},
			})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		for i := range 1000 {
			_ = e.Do(context.Background(), "DELETE", fmt.Sprintf("/containers/bench-%d?force=1&v=1", i), nil, nil)
		}
	})
}

func cpu(b *testing.B, f func(*testing.B)) {
	used := func() float64 {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e6
	}
	before := used()
	f(b)
	b.ReportMetric((used()-before)/float64(b.N), "cpu-ms/op")
}
