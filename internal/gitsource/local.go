package gitsource

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/remorahq/remora/internal/status"
)

// localRemote is a repository of this machine, bare or not. It is read in
// place: git writes objects and refs by rename, so no reader sees half of one.
// A repository that is repacked meanwhile loses objects from under the reader;
// that is a local error and tried again.
type localRemote struct {
	repo  *git.Repository
	store *filesystem.Storage
}

func openLocal(path string) (*localRemote, error) {
	dir := path
	if info, err := os.Stat(path + "/.git"); err == nil && info.IsDir() {
		dir = path + "/.git"
	}
	if _, err := os.Stat(dir + "/objects"); err != nil {
		return nil, answer(status.GitOperationFailed, "check the url",
			fmt.Errorf("%s is no git repository: %w", path, err))
	}
	store := filesystem.NewStorageWithOptions(osfs.New(dir), cache.NewObjectLRU(cacheSize), filesystem.Options{
		KeepDescriptors:      true,
		LargeObjectThreshold: 1 << 20,
		AlternatesFS:         osfs.New("/", osfs.WithBoundOS()),
	})
	repo, err := git.Open(store, nil)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, errors.Join(err, store.Close()))
	}
	return &localRemote{repo: repo, store: store}, nil
}

func (r *localRemote) refs(context.Context) (advert, error) {
	out := advert{refs: map[string]plumbing.Hash{}}
	list, err := r.store.IterReferences()
	if err != nil {
		return out, fmt.Errorf("list refs: %w", err)
	}
	err = list.ForEach(func(ref *plumbing.Reference) error {
		if ref.Type() == plumbing.HashReference && strings.HasPrefix(string(ref.Name()), "refs/") {
			out.refs[string(ref.Name())] = ref.Hash()
		}
		return nil
	})
	if err != nil {
		return out, fmt.Errorf("list refs: %w", err)
	}
	if len(out.refs) == 0 {
		return out, ErrEmptyRepository
	}
	head, err := r.store.Reference(plumbing.HEAD)
	switch {
	case errors.Is(err, plumbing.ErrReferenceNotFound):
	case err != nil:
		return out, fmt.Errorf("read HEAD: %w", err)
	case head.Type() == plumbing.SymbolicReference:
		out.head = string(head.Target())
	default:
		out.headID = head.Hash()
	}
	return out, nil
}

func (r *localRemote) objects(context.Context, string, plumbing.Hash) (*objects, error) {
	shallow, err := r.store.Shallow()
	if err != nil {
		return nil, fmt.Errorf("read shallow commits: %w", err)
	}
	out := &objects{EncodedObjectStorer: r.store, shallow: map[plumbing.Hash]bool{}, close: func() error { return nil }}
	for _, h := range shallow {
		out.shallow[h] = true
	}
	return out, nil
}

// Close closes the repository's files.
func (r *localRemote) Close() error { return r.store.Close() }
