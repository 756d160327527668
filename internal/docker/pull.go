package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/image"

	"github.com/remorahq/remora/internal/engine"
)

// progressEvery bounds how often a pull reports bytes; layers that end are
// always reported.
const progressEvery = 200 * time.Millisecond

// Pull pulls ref, by digest or tag, with the credentials of Docker's config
// file, and keeps the image from being pruned. progress, which may be nil, is
// called from this goroutine. Errors say whether it was the registry, the
// credentials, the image or the disk.
func (e *Engine) Pull(ctx context.Context, ref, platform string, progress func(engine.Progress)) (engine.Image, error) {
	what := "pull image " + ref
	named, err := parseReference(ref)
	if err != nil {
		return engine.Image{}, fmt.Errorf("%s: %w", what, err)
	}
	if progress == nil {
		progress = func(engine.Progress) {}
	}
	if _, err := retrying(ctx, what, classifyRegistry, func() (struct{}, error) {
		return struct{}{}, e.pull(ctx, named, platform, progress)
	}); err != nil {
		return engine.Image{}, err
	}
	found, err := e.Image(ctx, named.String())
	if err != nil {
		return engine.Image{}, fmt.Errorf("%s: %w", what, err)
	}
	return found, e.keep(ctx, named, found)
}

func (e *Engine) pull(ctx context.Context, named reference.Named, platform string, progress func(engine.Progress)) error {
	auth, err := e.credentials(named)
	if err != nil {
		return err
	}
	stream, err := e.client().ImagePull(ctx, named.String(), image.PullOptions{RegistryAuth: auth, Platform: platform})
	if err != nil {
		return err
	}
	defer stream.Close()
	layers := layers{progress: engine.Progress{Reference: reference.FamiliarString(named)}, report: progress, byID: map[string]*layer{}}
	messages := json.NewDecoder(stream)
	for {
		var m pullMessage
		switch err := messages.Decode(&m); {
		case errors.Is(err, io.EOF):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("read progress: %w", err)
		case m.Error != "":
			return errors.New(m.Error)
		}
		layers.add(m)
	}
}

// keep tags what was pulled so that it is not dangling.
func (e *Engine) keep(ctx context.Context, named reference.Named, found engine.Image) error {
	c, ok := named.(reference.Canonical)
	if !ok {
		return nil // it has the tag that it was pulled by
	}
	return do(ctx, "tag image "+named.String(), func() error {
		return e.client().ImageTag(ctx, found.ID, keepTag(c.Digest()))
	})
}

// pullMessage is one line of the engine's progress.
type pullMessage struct {
	ID       string `json:"id"`
	Status   string `json:"status"`
	Error    string `json:"error"`
	Progress struct {
		Current int64 `json:"current"`
		Total   int64 `json:"total"`
	} `json:"progressDetail"`
}

// layers adds the progress of the layers up.
type layers struct {
	progress engine.Progress
	report   func(engine.Progress)
	byID     map[string]*layer
	last     time.Time
}

type layer struct {
	current, total int64
	done           bool
}

func (l *layers) add(m pullMessage) {
	switch m.Status {
	case "Pulling fs layer", "Waiting", "Downloading", "Verifying Checksum", "Download complete", "Extracting",
		"Pull complete", "Already exists":
	default:
		return // "Pulling from …", "Digest: …", "Status: …"
	}
	at := l.byID[m.ID]
	if at == nil {
		at = &layer{}
		l.byID[m.ID] = at
		l.progress.Layers++
	}
	if m.Status == "Downloading" && m.Progress.Total > 0 {
		l.progress.Bytes += m.Progress.Current - at.current
		l.progress.Total += m.Progress.Total - at.total
		at.current, at.total = m.Progress.Current, m.Progress.Total
	}
	if ended := m.Status == "Pull complete" || m.Status == "Already exists"; ended && !at.done {
		at.done = true
		l.progress.Done++
		l.progress.Bytes += at.total - at.current
		at.current = at.total
	} else if time.Since(l.last) < progressEvery {
		return
	}
	l.last = time.Now()
	l.report(l.progress)
}
