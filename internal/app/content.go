package app

import (
	"strconv"

	"github.com/remorahq/remora/internal/content"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler"
)

// contentPort is the content store as the reconciler sees it.
type contentPort struct{ store *content.Store }

// Materialize puts a repository file or folder on disk.
func (c contentPort) Materialize(root string, f manifests.File, m manifests.Mount, spent *reconciler.Spent) (string, error) {
	return c.store.Materialize(root, f, ownership(m), (*content.Budget)(spent))
}

// Path is where Materialize, or Inline for content of the manifest itself,
// puts what a mount shows.
func (c contentPort) Path(f manifests.File, m manifests.Mount) (string, error) {
	if m.Kind == manifests.MountInline {
		return c.store.InlinePath(m.Content, ownership(m))
	}
	return c.store.Path(f, ownership(m))
}

// Prune removes what keep does not name.
func (c contentPort) Prune(keep func(path string) bool) (int, error) { return c.store.Prune(keep) }

// Inline puts content written in a manifest on disk.
func (c contentPort) Inline(m manifests.Mount) (string, error) {
	return c.store.Inline(m.Content, ownership(m))
}

// DataDir makes a folder of host data.
func (c contentPort) DataDir(project, path string) (string, error) {
	return c.store.DataDir(project, path)
}

// ownership is that of a config or secret, as the manifest writes it.
func ownership(m manifests.Mount) content.Ownership {
	return content.Ownership{UID: number(m.UID), GID: number(m.GID), Mode: m.Mode}
}

// number keeps what is a numeric id; "0", Compose's default, is the agent's
// own.
func number(id string) string {
	if n, err := strconv.Atoi(id); err != nil || n == 0 {
		return ""
	}
	return id
}
