package load

import (
	"fmt"
	"slices"
	"strings"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// report collects diagnostics and knows where the keys of an app are written.
type report struct {
	diags manifests.Diagnostics
	index map[string]manifests.Position
	// main is what a diagnostic without a place of its own is about.
	main string
}

// place returns where path is written, or its nearest parent that is.
func (r *report) place(path string) manifests.Position {
	for p := path; p != ""; {
		if pos, ok := r.index[p]; ok {
			return pos
		}
		cut := strings.LastIndexAny(p, ".[")
		if cut < 0 {
			break
		}
		p = p[:cut]
	}
	return manifests.Position{File: r.main}
}

func (r *report) add(d manifests.Diagnostic) {
	if d.File == "" {
		d.Position = r.place(d.Field)
	}
	if d.Reason == "" {
		d.Reason = status.LoadFailed
	}
	r.diags = append(r.diags, d)
}

// fail reports an error about the key at path.
func (r *report) fail(path, remedy, format string, args ...any) {
	r.add(manifests.Diagnostic{Field: path, Remedy: remedy, Message: fmt.Sprintf(format, args...)})
}

// warn reports what does not stop the app.
func (r *report) warn(path, remedy, format string, args ...any) {
	r.add(manifests.Diagnostic{Field: path, Remedy: remedy, Message: fmt.Sprintf(format, args...), Warning: true})
}

// later reports a key that this version does not carry out.
func (r *report) later(path, remedy string) {
	if remedy == "" {
		remedy = "remove the key, or upgrade remora when it is there"
	}
	key := path[strings.LastIndex(path, ".")+1:]
	r.add(manifests.Diagnostic{
		Field: path, Reason: status.NotInThisVersion, Remedy: remedy,
		Message: fmt.Sprintf("`%s` is not in this version", key),
	})
}

// failed says whether an error was reported.
func (r *report) failed() bool {
	return slices.ContainsFunc(r.diags, func(d manifests.Diagnostic) bool { return !d.Warning })
}

// blocked says whether an error was reported after which nothing further can
// be said; a denial by policy is none.
func (r *report) blocked() bool {
	return slices.ContainsFunc(r.diags, func(d manifests.Diagnostic) bool {
		return !d.Warning && d.Reason != status.PolicyDenied
	})
}

// sorted returns what was reported, once each, by place.
func (r *report) sorted() manifests.Diagnostics {
	slices.SortStableFunc(r.diags, func(a, b manifests.Diagnostic) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		if a.Column != b.Column {
			return a.Column - b.Column
		}
		return strings.Compare(a.Field+a.Message, b.Field+b.Message)
	})
	r.diags = slices.Compact(r.diags)
	return r.diags
}
