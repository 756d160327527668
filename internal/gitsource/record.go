package gitsource

import (
	"slices"

	"github.com/remorahq/remora/internal/status"
)

// recordVersion is the version of <state>/sources/<name>.json.
const recordVersion = 1

// record is what a source remembers over restarts.
type record struct {
	// URL and Want are what the host file said; the record counts only while
	// it says the same.
	URL  string `json:"url"`
	Want string `json:"want"`
	// Revision is the last good one; its Folder is set anew on load.
	Revision status.Revision `json:"revision"`
	// Full and Object are the ref and the id that it held then.
	Full   string `json:"full"`
	Object string `json:"object"`
	// History is what is known of the commit's past, over all fetches.
	History history `json:"history"`
	// Tags are the objects that tags held when they were followed.
	Tags map[string]string `json:"tags,omitempty"`
	// Recent are the commits that were in force, the newest first.
	Recent []string `json:"recent,omitempty"`
}

const (
	maxTags   = 500
	maxRecent = 50
)

// accept enters a new head, which is on disk with that seal, and returns the
// revision that is now in force.
func (r *record) accept(h Head, sha string, s seal, folder string) status.Revision {
	rev := status.Revision{Ref: h.Ref, SHA: sha, Folder: folder, Commit: s.Commit, Reports: s.Reports}
	if r.Full == h.Full && !r.Revision.IsZero() {
		r.compare(&rev, s.History)
	}
	if h.Tag() {
		former, seen := r.Tags[h.Full]
		rev.TagMoved = seen && former != h.Object
		if r.Tags == nil || len(r.Tags) >= maxTags {
			r.Tags = map[string]string{}
		}
		r.Tags[h.Full] = h.Object
	}
	r.History = r.merge(rev, s.History)
	rev.Ancestors = ancestors(sha, r.History.Known)
	r.Full, r.Object, r.Revision = h.Full, h.Object, rev
	r.Recent = slices.DeleteFunc(r.Recent, func(s string) bool { return s == sha })
	r.Recent = append([]string{sha}, r.Recent[:min(len(r.Recent), maxRecent-1)]...)
	return rev
}

// ancestors are the nearest known ones of a commit.
func ancestors(sha string, known []string) []string {
	near := slices.DeleteFunc(slices.Clone(known), func(id string) bool { return id == sha })
	if len(near) == 0 {
		return nil
	}
	return near[:min(len(near), maxAncestors)]
}

// maxAncestors bounds what a revision says of its past.
const maxAncestors = 100

func (r *record) compare(rev *status.Revision, past history) {
	if r.Revision.SHA == rev.SHA {
		return
	}
	rev.Previous = r.Revision.SHA
	switch past.since(r.History) {
	case rewritten:
		rev.Rewritten = true
	case unknownRelation:
		rev.HistoryUnknown = true
	case advanced:
	}
}

// merge keeps what earlier fetches knew of the past, where the commit certainly
// descends from them.
func (r *record) merge(rev status.Revision, past history) history {
	if rev.Previous == "" || rev.Rewritten || rev.HistoryUnknown || len(r.History.Known) == 0 {
		return past
	}
	known := slices.Clone(past.Known)
	for _, id := range r.History.Known {
		if !slices.Contains(known, id) {
			known = append(known, id)
		}
	}
	return history{Known: known[:min(len(known), maxKnown)]}
}
