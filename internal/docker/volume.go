package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/docker/docker/api/types/volume"

	"github.com/remorahq/remora/internal/engine"
)

// Volumes returns all volumes, sorted by name.
func (e *Engine) Volumes(ctx context.Context) ([]engine.Volume, error) {
	return ask(ctx, e, "list volumes", func(ctx context.Context) ([]engine.Volume, error) {
		all, err := e.client().VolumeList(ctx, volume.ListOptions{})
		if err != nil {
			return nil, err
		}
		var out []engine.Volume
		for _, v := range all.Volumes {
			out = append(out, engine.Volume{Name: v.Name, Driver: v.Driver, Labels: v.Labels, Created: parseTime(v.CreatedAt)})
		}
		slices.SortFunc(out, func(a, b engine.Volume) int { return cmp.Compare(a.Name, b.Name) })
		return out, nil
	})
}

// EnsureVolume makes a volume, or accepts the one of that name if it belongs
// to the same app and has the same driver, or if Docker Compose made it for the
// same project and key. A different one is engine.ErrConflict, and is left
// alone with its data.
func (e *Engine) EnsureVolume(ctx context.Context, spec engine.VolumeSpec) error {
	return do(ctx, "make volume "+spec.Name, func() error {
		have, err := e.client().VolumeInspect(ctx, spec.Name)
		if err = classify(err); errors.Is(err, engine.ErrNotFound) {
			// The engine gives back one that somebody made in between.
			have, err = e.client().VolumeCreate(ctx, volume.CreateOptions{
				Name: spec.Name, Driver: cmp.Or(spec.Driver, "local"), DriverOpts: spec.DriverOpts, Labels: spec.Labels,
			})
		}
		if err != nil {
			return err
		}
		return sameVolume(spec, &have)
	})
}

func sameVolume(spec engine.VolumeSpec, have *volume.Volume) error {
	differs := func(what, want, got string) error {
		return fmt.Errorf("%w: volume %s exists with %s %q, not %q: its data is left alone; rename it in the file, or declare it external",
			engine.ErrConflict, spec.Name, what, got, want)
	}
	_, ours := have.Labels[engine.LabelApp]
	for _, label := range identity {
		if !ours && (label == engine.LabelApp || label == engine.LabelEnvironment) {
			continue // Compose names the project and the key only
		}
		if want, got := spec.Labels[label], have.Labels[label]; want != got {
			return differs("label "+label, want, got)
		}
	}
	if want := cmp.Or(spec.Driver, "local"); want != have.Driver {
		return differs("driver", want, have.Driver)
	}
	for key, want := range spec.DriverOpts {
		if got := have.Options[key]; got != want {
			return differs("driver_opts."+key, want, got)
		}
	}
	return nil
}
