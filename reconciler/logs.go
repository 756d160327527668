package reconciler

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/reconciler/ledger"
)

// logSource is a container whose output is asked for, with the name that its
// lines carry.
type logSource struct{ id, name string }

// Logs writes the output of an app's containers to out, each line with the
// name of its container where there are several.
func (r *Reconciler) Logs(ctx context.Context, req status.LogRequest, out io.Writer) error {
	w, err := r.find(req.App)
	if err != nil {
		return err
	}
	sources, err := ask(ctx, w, func() []logSource { return w.logSources(req) })
	if err != nil {
		return &status.Error{Kind: status.Unavailable, Message: err.Error()}
	}
	if len(sources) == 0 {
		return &status.Error{Kind: status.NotFound, Message: "no container of " + subject(req.App, req.Service) + " matches", Remedy: "`remora logs --failed` shows what was kept of failed ones"}
	}
	opts := engine.LogOptions{Follow: req.Follow, Lines: req.Tail, Since: req.Since}
	shared := &lineWriter{out: out}
	g, ctx := errgroup.WithContext(ctx)
	for _, src := range sources {
		lines := &prefixer{to: shared}
		if len(sources) > 1 {
			lines.prefix = fmt.Sprintf("%-*s | ", widest(sources), src.name)
		}
		g.Go(func() error {
			err := r.cfg.Engine.FollowLogs(ctx, src.id, opts, lines)
			lines.flush()
			if errors.Is(err, engine.ErrNotFound) || errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		})
	}
	return g.Wait()
}

func widest(sources []logSource) int {
	n := 0
	for _, s := range sources {
		n = max(n, len(s.name))
	}
	return n
}

// logSources lists the containers that a request for output means: those of
// the active release, or of the one that is named, and of jobs.
func (w *worker) logSources(req status.LogRequest) []logSource {
	var out []logSource
	for name, s := range w.app.Services {
		if req.Service != "" && req.Service != name {
			continue
		}
		for _, d := range append([]*ledger.Deployed{s.Active, s.Standby}, s.Leaving...) {
			if d == nil || (req.Release != "" && !named(&d.Release, req.Release)) || (req.Release == "" && d != s.Active) {
				continue
			}
			for _, i := range d.Instances {
				out = append(out, logSource{i.Container, fmt.Sprintf("%s-%d", name, i.Index)})
			}
		}
		for id, j := range s.Jobs {
			if _, digest, _ := strings.Cut(id, ":"); req.Release == "" || strings.HasPrefix(digest, req.Release) {
				out = append(out, logSource{j.Instance.Container, name})
			}
		}
	}
	out = slices.DeleteFunc(out, func(l logSource) bool { return l.id == "" })
	slices.SortFunc(out, func(a, b logSource) int { return strings.Compare(a.name, b.name) })
	return out
}

// lineWriter lets several writers share one, a line at a time.
type lineWriter struct {
	mu  sync.Mutex
	out io.Writer
}

func (l *lineWriter) line(prefix string, text []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := fmt.Fprintf(l.out, "%s%s\n", prefix, text)
	return err
}

// prefixer cuts a stream into lines with a prefix. It is for one goroutine.
type prefixer struct {
	to     *lineWriter
	prefix string
	rest   []byte
}

func (p *prefixer) Write(b []byte) (int, error) {
	p.rest = append(p.rest, b...)
	for {
		i := bytes.IndexByte(p.rest, '\n')
		if i < 0 {
			return len(b), nil
		}
		if err := p.to.line(p.prefix, bytes.TrimSuffix(p.rest[:i], []byte("\r"))); err != nil {
			return 0, err
		}
		p.rest = p.rest[i+1:]
	}
}

// flush writes an unfinished last line.
func (p *prefixer) flush() {
	if len(p.rest) > 0 {
		_ = p.to.line(p.prefix, p.rest)
	}
}
