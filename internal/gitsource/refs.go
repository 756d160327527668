package gitsource

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"

	"github.com/remorahq/remora/internal/status"
)

// Head is what the followed ref points to on the server.
type Head struct {
	// Ref is the short name, Full the whole one, such as refs/heads/main.
	Ref  string
	Full string
	// Object is the id that the ref holds: a commit, or an annotated tag.
	Object string
	// SHA is the commit, empty where the server does not say which commit an
	// annotated tag leads to.
	SHA string
}

// Tag says that the followed ref is a tag.
func (h Head) Tag() bool { return strings.HasPrefix(h.Full, "refs/tags/") }

// advert is what a server says of its refs.
type advert struct {
	refs map[string]plumbing.Hash
	// peeled are the objects that annotated tags lead to; nil where the server
	// does not say.
	peeled map[string]plumbing.Hash
	// head is what HEAD names, empty where the server does not say; headID its
	// object, zero while that branch does not exist.
	head   string
	headID plumbing.Hash
}

func newAdvert(a *packp.AdvRefs) advert {
	out := advert{refs: a.References, peeled: a.Peeled}
	for _, s := range a.Capabilities.Get(capability.SymRef) {
		if target, ok := strings.CutPrefix(s, "HEAD:"); ok {
			out.head = target
		}
	}
	if a.Head != nil {
		out.headID = *a.Head
	}
	return out
}

// resolve finds the ref that the host file names. A branch goes before a tag
// of the same name: who may push tags must not be able to take over a branch.
func (a advert) resolve(want string) (Head, error) {
	if want == "" || want == "HEAD" {
		return a.resolveHead()
	}
	candidates := []string{"refs/heads/" + want, "refs/tags/" + want}
	if strings.HasPrefix(want, "refs/") {
		candidates = []string{want}
	}
	for _, full := range candidates {
		if id, ok := a.refs[full]; ok {
			return a.at(full, id), nil
		}
	}
	return Head{}, answer(status.GitOperationFailed, "set ref to one of: "+a.names(),
		fmt.Errorf("%w %q on the server", ErrRefGone, printable(want)))
}

func (a advert) resolveHead() (Head, error) {
	if id, ok := a.refs[a.head]; ok {
		return a.at(a.head, id), nil
	}
	for _, full := range []string{"refs/heads/main", "refs/heads/master"} {
		if id, ok := a.refs[full]; ok && id == a.headID {
			return a.at(full, id), nil
		}
	}
	if !a.headID.IsZero() {
		return a.at("HEAD", a.headID), nil
	}
	return Head{}, answer(status.GitOperationFailed, "set ref to one of: "+a.names(),
		fmt.Errorf("%w behind the server's HEAD", ErrRefGone))
}

func (a advert) at(full string, id plumbing.Hash) Head {
	short := strings.TrimPrefix(strings.TrimPrefix(full, "refs/heads/"), "refs/tags/")
	h := Head{Ref: printable(short), Full: full, Object: id.String(), SHA: id.String()}
	if peeled, ok := a.peeled[full]; ok {
		h.SHA = peeled.String()
	} else if h.Tag() && a.peeled == nil {
		h.SHA = ""
	}
	return h
}

// names lists branches, then tags, not too many.
func (a advert) names() string {
	var branches, tags []string
	for full := range a.refs {
		if name, ok := strings.CutPrefix(full, "refs/heads/"); ok {
			branches = append(branches, printable(name))
		} else if name, ok := strings.CutPrefix(full, "refs/tags/"); ok {
			tags = append(tags, printable(name))
		}
	}
	slices.Sort(branches)
	slices.Sort(tags)
	all := slices.Concat(branches, tags)
	const most = 10
	if len(all) > most {
		return strings.Join(all[:most], ", ") + ", …"
	}
	return strings.Join(all, ", ")
}
