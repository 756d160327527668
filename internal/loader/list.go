package loader

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// list finds the apps and their placement.
func (l *Loader) list(ctx context.Context, req manifests.LoadRequest) (manifests.LoadResult, error) {
	req.PlacementOnly = true
	key := keyOf(req)
	if out, ok := l.cache.get(key, req.Root); ok {
		return out, nil
	}
	out, err := l.run(ctx, req)
	if _, dead := errors.AsType[*Died](err); dead {
		return l.listApart(ctx, req)
	}
	if err != nil {
		return out, err
	}
	l.cache.put(key, allInputs(out), out)
	return out, nil
}

// nobody is the name of no folder.
const nobody = "/"

// listApart looks at the apps some at a time, after a process that was to look
// at all of them died: so that the app that killed it is all that fails. The
// answer is not kept, since nothing is known of what the dead looked at.
func (l *Loader) listApart(ctx context.Context, req manifests.LoadRequest) (manifests.LoadResult, error) {
	folders := req
	folders.Apps = []string{nobody}
	out, err := l.run(ctx, folders)
	if dead, ok := errors.AsType[*Died](err); ok {
		return manifests.LoadResult{Diagnostics: manifests.Diagnostics{{
			Reason:   status.LoadFailed,
			Position: manifests.Position{File: req.Path + "/" + req.Environment},
			Message:  "listing the environment " + dead.How, Remedy: "validate its apps one by one",
		}}}, nil
	}
	if err != nil || len(out.Diagnostics) > 0 {
		return out, err
	}
	for names := range slices.Chunk(asked(out.Folders, req.Apps), batch) {
		part, err := l.place(ctx, req, names)
		if err != nil {
			return out, err
		}
		out.Placed = append(out.Placed, part.Placed...)
		out.Skipped = append(out.Skipped, part.Skipped...)
		merge(&out, part)
	}
	return out, nil
}

func asked(folders, apps []string) []string {
	if len(apps) == 0 {
		return folders
	}
	return slices.DeleteFunc(slices.Clone(folders), func(name string) bool { return !slices.Contains(apps, name) })
}

// place finds where some apps belong; when the process dies, where each one
// does.
func (l *Loader) place(ctx context.Context, req manifests.LoadRequest, names []string) (manifests.LoadResult, error) {
	req.Apps = names
	key := keyOf(req)
	if out, ok := l.cache.get(key, req.Root); ok {
		out.AppInputs = maps.Clone(out.AppInputs)
		return out, nil
	}
	out, err := l.run(ctx, req)
	dead, ok := errors.AsType[*Died](err)
	switch {
	case !ok:
		if err == nil {
			l.cache.put(key, allInputs(out), out)
		}
		return out, err
	case len(names) == 1:
		return died(req, names[0], dead), nil
	}
	out = manifests.LoadResult{}
	for _, name := range names {
		one, err := l.place(ctx, req, []string{name})
		if err != nil {
			return out, err
		}
		out.Placed = append(out.Placed, one.Placed...)
		out.Skipped = append(out.Skipped, one.Skipped...)
		merge(&out, one)
	}
	return out, nil
}
