package docker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/remorahq/remora/internal/engine"
)

// Logs returns the last bytes of a container's output, both streams in the
// order of the engine's log, and its exit code. The engine counts lines, not
// bytes: it is asked for more lines until there are enough bytes.
func (e *Engine) Logs(ctx context.Context, id string, limit int64) (engine.Output, error) {
	if limit <= 0 {
		return engine.Output{}, nil
	}
	return call(ctx, "read logs of container "+short(id), func() (engine.Output, error) {
		c, err := e.client().ContainerInspect(ctx, id)
		if err != nil {
			return engine.Output{}, err
		}
		out := newTail(int(limit))
		for lines := int(limit/100) + 1; ; lines *= 4 {
			out.buf = nil
			got := &lineCount{w: out}
			if err := e.copyLogs(ctx, &c, engine.LogOptions{Lines: lines}, got); err != nil {
				return engine.Output{}, err
			}
			if got.bytes >= limit || got.lines < lines {
				return engine.Output{ExitCode: c.State.ExitCode, Text: out.bytes()}, nil
			}
		}
	})
}

// FollowLogs writes a container's output to w until it ends or ctx does.
func (e *Engine) FollowLogs(ctx context.Context, id string, opts engine.LogOptions, w io.Writer) error {
	_, err := once("read logs of container "+short(id), func() (struct{}, error) {
		c, err := e.client().ContainerInspect(ctx, id)
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, e.copyLogs(ctx, &c, opts, w)
	})
	return err
}

func (e *Engine) copyLogs(ctx context.Context, c *container.InspectResponse, opts engine.LogOptions, w io.Writer) error {
	o := container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: opts.Follow, Timestamps: opts.Timestamps, Tail: "all"}
	if opts.Lines >= 0 {
		o.Tail = strconv.Itoa(opts.Lines)
	}
	if !opts.Since.IsZero() {
		o.Since = opts.Since.Format(time.RFC3339Nano)
	}
	stream, err := e.client().ContainerLogs(ctx, c.ID, o)
	if err != nil {
		return err
	}
	defer stream.Close()
	if c.Config.Tty {
		_, err = io.Copy(w, stream)
	} else {
		_, err = stdcopy.StdCopy(w, w, stream)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	return nil
}

// lineCount counts what goes through it.
type lineCount struct {
	w     io.Writer
	bytes int64
	lines int
}

func (l *lineCount) Write(p []byte) (int, error) {
	l.bytes += int64(len(p))
	l.lines += bytes.Count(p, []byte{'\n'})
	return l.w.Write(p)
}
