package gitsource

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// depth is how many commits are fetched, to tell a rewritten branch.
const depth = 50

// cacheSize bounds the objects that reading a pack keeps in memory.
const cacheSize = 8 * cache.MiByte

// remote is a repository during one operation.
type remote interface {
	// refs asks which refs there are; call it once, first.
	refs(context.Context) (advert, error)
	// objects returns the objects below id and the history behind it; dir is
	// an empty folder for them.
	objects(ctx context.Context, dir string, id plumbing.Hash) (*objects, error)
	io.Closer
}

// objects is a set of git objects, to be closed after use.
type objects struct {
	storer.EncodedObjectStorer
	// shallow are the commits whose parents were not fetched.
	shallow map[plumbing.Hash]bool
	close   func() error
}

// packRemote is a repository behind git-upload-pack.
type packRemote struct {
	session session
	limit   int64 // bytes of a pack
	adv     *packp.AdvRefs
}

func (r *packRemote) refs(ctx context.Context) (advert, error) {
	adv, err := r.session.AdvertisedReferencesContext(ctx)
	if err != nil {
		return advert{}, err
	}
	r.adv = adv
	return newAdvert(adv), nil
}

func (r *packRemote) objects(ctx context.Context, dir string, id plumbing.Hash) (_ *objects, err error) {
	res, req, err := r.ask(ctx, id)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, ignoreClosed(res.Close())) }()
	store, err := storePack(dir, r.pack(req, res))
	if err != nil {
		return nil, fmt.Errorf("read pack: %w", err)
	}
	out := &objects{EncodedObjectStorer: store, shallow: map[plumbing.Hash]bool{}, close: store.Close}
	for _, h := range res.Shallows {
		out.shallow[h] = true
	}
	return out, nil
}

// ask requests the pack of one object, shallow where the server can.
func (r *packRemote) ask(ctx context.Context, id plumbing.Hash) (*packp.UploadPackResponse, *packp.UploadPackRequest, error) {
	req := packp.NewUploadPackRequestFromCapabilities(r.adv.Capabilities)
	req.Wants = []plumbing.Hash{id}
	if r.adv.Capabilities.Supports(capability.Shallow) {
		req.Depth = packp.DepthCommits(depth)
		if err := req.Capabilities.Set(capability.Shallow); err != nil {
			return nil, nil, err
		}
	}
	if r.adv.Capabilities.Supports(capability.NoProgress) {
		if err := req.Capabilities.Set(capability.NoProgress); err != nil {
			return nil, nil, err
		}
	}
	res, err := r.session.UploadPack(ctx, req)
	return res, req, err
}

// pack takes the pack out of its channel.
func (r *packRemote) pack(req *packp.UploadPackRequest, res *packp.UploadPackResponse) io.Reader {
	var pack io.Reader = res
	switch {
	case req.Capabilities.Supports(capability.Sideband64k):
		pack = sideband.NewDemuxer(sideband.Sideband64k, res)
	case req.Capabilities.Supports(capability.Sideband):
		pack = sideband.NewDemuxer(sideband.Sideband, res)
	}
	return &limitedReader{r: pack, left: r.limit, limit: r.limit}
}

// Close ends the conversation.
func (r *packRemote) Close() error { return r.session.Close() }
