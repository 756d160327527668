package gitsource

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"

	"github.com/remorahq/remora/internal/status"
)

// history is what was fetched of a commit's past.
type history struct {
	// Known are the commit itself and its ancestors, nearest first.
	Known []string `json:"known"`
	// Edge are those of Known whose parents were not fetched; empty says that
	// Known is complete.
	Edge []string `json:"edge,omitempty"`
}

// maxKnown bounds Known.
const maxKnown = 1000

// peel follows tags to a commit.
func peel(s storer.EncodedObjectStorer, id plumbing.Hash) (*object.Commit, error) {
	for range 10 {
		o, err := object.GetObject(s, id)
		if err != nil {
			return nil, fmt.Errorf("read object %s: %w", id, err)
		}
		switch o := o.(type) {
		case *object.Commit:
			return o, nil
		case *object.Tag:
			id = o.Target
		default:
			return nil, answer(status.GitOperationFailed, "follow a branch, or a tag of a commit",
				fmt.Errorf("the ref leads to a %s, not to a commit", o.Type()))
		}
	}
	return nil, answer(status.GitOperationFailed, "", errors.New("the tag leads to too many tags"))
}

// walk lists the ancestors of c breadth first, as far as they were fetched.
func walk(o *objects, c *object.Commit) (history, error) {
	var h history
	seen := map[plumbing.Hash]bool{c.Hash: true}
	level := map[plumbing.Hash]int{c.Hash: 1}
	queue := []plumbing.Hash{c.Hash}
	for len(queue) > 0 {
		id := queue[0]
		queue = queue[1:]
		commit, err := object.GetCommit(o, id)
		if err != nil {
			return history{}, fmt.Errorf("read commit %s: %w", id, err)
		}
		h.Known = append(h.Known, id.String())
		cut := o.shallow[id] || level[id] >= depth || len(h.Known)+len(queue) >= maxKnown
		if cut && len(commit.ParentHashes) > 0 {
			h.Edge = append(h.Edge, id.String())
			continue
		}
		if cut {
			continue
		}
		for _, p := range commit.ParentHashes {
			if !seen[p] {
				seen[p] = true
				level[p] = level[id] + 1
				queue = append(queue, p)
			}
		}
	}
	return h, nil
}

// relation says what became of the commit that was in force before.
type relation int

const (
	advanced relation = iota
	rewritten
	unknownRelation
)

// since compares with the history of the commit that was in force before. A
// rewrite is only claimed where it is certain: what was not fetched could hold
// the former commit.
func (h history) since(former history) relation {
	if len(former.Known) == 0 || slices.Contains(h.Known, former.Known[0]) {
		return advanced
	}
	if slices.Contains(former.Known, h.Known[0]) {
		return rewritten // back to an ancestor
	}
	for _, edge := range h.Edge {
		if !slices.Contains(former.Known, edge) {
			return unknownRelation
		}
	}
	return rewritten
}

// describe returns what the commit says of itself.
func describe(c *object.Commit) status.Commit {
	subject, _, _ := strings.Cut(strings.TrimSpace(c.Message), "\n")
	out := status.Commit{
		Author:    person(c.Author),
		Committer: person(c.Committer),
		Subject:   printable(subject),
		Time:      c.Committer.When.UTC(),
	}
	for _, p := range c.ParentHashes {
		out.Parents = append(out.Parents, p.String())
	}
	return out
}

func person(s object.Signature) string {
	if s.Email == "" {
		return printable(s.Name)
	}
	return printable(s.Name + " <" + s.Email + ">")
}
