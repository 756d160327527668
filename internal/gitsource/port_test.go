package gitsource

import (
	"context"

	"github.com/remorahq/remora/internal/status"
)

// What a consumer can ask of either kind of source.
type follower interface {
	Name() string
	URL() string
	Current() status.Revision
	Fetch(ctx context.Context) (status.Revision, error)
	Changes(ctx context.Context) <-chan struct{}
	Prune(ctx context.Context, keep func(sha string) bool) error
	Close() error
}

var (
	_ follower = (*Source)(nil)
	_ follower = (*Folder)(nil)
)
