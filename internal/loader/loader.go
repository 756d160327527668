// Package loader runs the loading of manifests in short-lived processes, since
// a manifest is input from outside: a few bytes may make the Compose library
// panic or run for ever. It is the parent's side; it never imports that
// library.
//
// A process has a deadline, and what it writes is capped; it limits its memory
// and CPU time itself. Apps are loaded a few to a process; when one dies, its
// apps are loaded again one by one, so that an app that kills its loader is an
// error of that app only. Answers are kept by what they depend on: an
// environment of which nothing changed starts no process.
//
// A [Loader] may be used from any goroutine. Load waits for every process that
// it starts.
package loader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// Limits of one process.
const (
	// Deadline is how long a process may run before it is killed.
	Deadline = 5 * time.Second
	// maxAnswer bounds what is read from it.
	maxAnswer = 16 << 20
	maxErrors = 16 << 10
	// batch is how many apps one process loads, few how many are loaded again
	// at once rather than finding out first which one changed.
	batch = 8
	few   = 2
	// patience is how many times longer a process may run on a busy machine;
	// its CPU time stays limited.
	patience = 4
	// parallel is how many processes run at once.
	parallel = 2
)

// Loader loads environments.
type Loader struct {
	command  []string
	deadline time.Duration
	cache    cache
	spare    spare
}

// New returns a loader whose processes are this program with the argument
// "load".
func New(options ...Option) *Loader {
	l := &Loader{deadline: Deadline}
	for _, o := range options {
		o(l)
	}
	return l
}

// Option changes a loader.
type Option func(*Loader)

// WithCommand has processes started by another command line.
func WithCommand(command ...string) Option { return func(l *Loader) { l.command = command } }

// WithDeadline changes how long a process may run.
func WithDeadline(d time.Duration) Option { return func(l *Loader) { l.deadline = d } }

// Load answers req. An error means that no process could be started or that
// ctx ended; everything else is in the result.
func (l *Loader) Load(ctx context.Context, req manifests.LoadRequest) (manifests.LoadResult, error) {
	if out, ok, err := l.whole(ctx, req); ok || err != nil {
		return out, err
	}
	out, err := l.list(ctx, req)
	if err != nil || req.PlacementOnly || len(out.Diagnostics) > 0 {
		return out, err
	}
	out.AppInputs = maps.Clone(out.AppInputs) // the cache holds the original
	if err := l.apps(ctx, req, &out); err != nil {
		return manifests.LoadResult{}, err
	}
	sortResult(&out)
	return out, nil
}

// whole lists and loads an environment of a few apps in one process, where
// otherwise one would list it and another load what changed. ok is false where
// it is larger, its list is known, or the process died: then one app after the
// other is looked at.
func (l *Loader) whole(ctx context.Context, req manifests.LoadRequest) (out manifests.LoadResult, ok bool, err error) {
	list := req
	list.PlacementOnly = true
	if req.PlacementOnly || len(req.Apps) > 0 || !small(req) {
		return out, false, nil
	}
	if _, known := l.cache.get(keyOf(list), req.Root); known {
		return out, false, nil
	}
	out, err = l.run(ctx, req)
	if _, dead := errors.AsType[*Died](err); dead {
		return manifests.LoadResult{}, false, nil
	}
	if err != nil || len(out.Diagnostics) > 0 {
		return out, err == nil, err
	}
	l.keep(req, out)
	placed := out
	placed.Apps, placed.Failed = nil, nil
	l.cache.put(keyOf(list), allInputs(out), placed)
	sortResult(&out)
	return out, true, nil
}

// small says that an environment has few folders.
func small(req manifests.LoadRequest) bool {
	dir := req.Root
	if !req.Bare {
		dir = filepath.Join(req.Root, filepath.FromSlash(req.Path), req.Environment)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	folders := 0
	for _, e := range entries {
		if e.IsDir() {
			folders++
		}
	}
	return folders <= few
}

// allInputs are what an answer as a whole depends on.
func allInputs(out manifests.LoadResult) []manifests.Input {
	inputs := slices.Clone(out.Inputs)
	for _, name := range slices.Sorted(maps.Keys(out.AppInputs)) {
		inputs = append(inputs, out.AppInputs[name]...)
	}
	return inputs
}

// apps loads the placed apps, those from the cache without a process.
func (l *Loader) apps(ctx context.Context, req manifests.LoadRequest, out *manifests.LoadResult) error {
	var todo []string
	for _, name := range out.Placed {
		if one, ok := l.cache.get(keyOf(only(req, name)), req.Root); ok {
			merge(out, one)
			continue
		}
		todo = append(todo, name)
	}
	results := make([]manifests.LoadResult, (len(todo)+batch-1)/batch)
	errs := make([]error, len(results))
	slots := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	for i, names := range slices.Collect(slices.Chunk(todo, batch)) {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			results[i], errs[i] = l.batch(ctx, req, names)
		})
	}
	wg.Wait()
	for _, r := range results {
		merge(out, r)
	}
	return errors.Join(errs...)
}

// batch loads some apps in one process; when it dies, each in its own.
func (l *Loader) batch(ctx context.Context, req manifests.LoadRequest, names []string) (manifests.LoadResult, error) {
	out, err := l.run(ctx, only(req, names...))
	var dead *Died
	switch {
	case err == nil:
		l.keep(req, out)
		return out, nil
	case !errors.As(err, &dead):
		return out, err
	case len(names) == 1:
		return died(req, names[0], dead), nil
	}
	out = manifests.LoadResult{}
	for _, name := range names {
		one, err := l.batch(ctx, req, []string{name})
		if err != nil {
			return out, err
		}
		merge(&out, one)
	}
	return out, nil
}

// keep caches each app's part of an answer.
func (l *Loader) keep(req manifests.LoadRequest, out manifests.LoadResult) {
	for name, inputs := range out.AppInputs {
		one := manifests.LoadResult{AppInputs: map[string][]manifests.Input{name: inputs}}
		for _, a := range out.Apps {
			if a.Name == name {
				one.Apps = append(one.Apps, a)
			}
		}
		for _, f := range out.Failed {
			if f.App == name {
				one.Failed = append(one.Failed, f)
			}
		}
		l.cache.put(keyOf(only(req, name)), slices.Concat(out.Inputs, inputs), one)
	}
}

func only(req manifests.LoadRequest, names ...string) manifests.LoadRequest {
	req.Apps, req.PlacementOnly = names, false
	return req
}

func merge(out *manifests.LoadResult, part manifests.LoadResult) {
	out.Apps = append(out.Apps, part.Apps...)
	out.Failed = append(out.Failed, part.Failed...)
	if out.AppInputs == nil {
		out.AppInputs = map[string][]manifests.Input{}
	}
	maps.Copy(out.AppInputs, part.AppInputs)
}

func sortResult(out *manifests.LoadResult) {
	slices.SortFunc(out.Apps, func(a, b manifests.App) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(out.Failed, func(a, b manifests.Failed) int { return strings.Compare(a.App, b.App) })
}

func died(req manifests.LoadRequest, name string, dead *Died) manifests.LoadResult {
	file := name
	if !req.Bare {
		file = req.Path + "/" + req.Environment + "/" + name
	}
	return manifests.LoadResult{Failed: []manifests.Failed{{App: name, Diagnostics: manifests.Diagnostics{{
		Position: manifests.Position{File: file}, Reason: status.LoadFailed,
		Message: fmt.Sprintf("the files of %s: loading %s", name, dead.How),
		Remedy:  "simplify them; the other apps are not affected",
	}}}}}
}

// Died is the error of a process that did not answer.
type Died struct {
	// How says what became of it, after "loading".
	How string
	// starved says that it was given little CPU.
	starved bool
}

// Error returns one sentence.
func (d *Died) Error() string { return "loading " + d.How }

// run starts one process, and a second one with more time when the first was
// stopped although it had hardly been given the CPU: then the machine was
// busy, and the files are not to blame.
func (l *Loader) run(ctx context.Context, req manifests.LoadRequest) (manifests.LoadResult, error) {
	out, err := l.attempt(ctx, req, l.deadline)
	var dead *Died
	if errors.As(err, &dead) && dead.starved {
		return l.attempt(ctx, req, patience*l.deadline)
	}
	return out, err
}

func (l *Loader) attempt(ctx context.Context, req manifests.LoadRequest, limit time.Duration) (out manifests.LoadResult, err error) {
	question, err := json.Marshal(req)
	if err != nil {
		return out, fmt.Errorf("encode load request: %w", err)
	}
	p, err := l.spare.take(l.start)
	if err != nil {
		return out, fmt.Errorf("start loader: %w", err)
	}
	switch err := p.ask(ctx, question, limit); {
	case ctx.Err() != nil:
		return out, fmt.Errorf("load manifests: %w", ctx.Err())
	case errors.Is(err, context.DeadlineExceeded):
		return out, &Died{How: fmt.Sprintf("ran out of time (%s)", limit), starved: p.used() < limit/2}
	case p.answer.over:
		return out, &Died{How: fmt.Sprintf("gave more than %d MiB", maxAnswer>>20)}
	case err != nil:
		return out, &Died{How: how(err, p.errs.buf.String())}
	}
	if err := json.Unmarshal(p.answer.buf.Bytes(), &out); err != nil {
		return out, &Died{How: fmt.Sprintf("gave an answer that cannot be read: %v", err)}
	}
	return out, nil
}

// how says why a process ended, from its exit and the first line that it
// wrote.
func how(err error, text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	switch {
	case strings.Contains(err.Error(), "killed") || strings.Contains(err.Error(), "CPU time"):
		return "used up its CPU time"
	case strings.Contains(text, "out of memory") || strings.Contains(text, "cannot allocate memory"):
		return "used up its memory"
	case strings.HasPrefix(line, "panic:"), strings.HasPrefix(line, "fatal error:"), strings.HasPrefix(line, "runtime:"):
		return "ended in a panic: " + strings.TrimSpace(strings.TrimPrefix(line, "panic:"))
	case line != "":
		return fmt.Sprintf("failed (%v): %s", err, line)
	}
	return fmt.Sprintf("failed: %v", err)
}
