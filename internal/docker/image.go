package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/versions"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
)

// keepRepository tags what was pulled for a release, by its digest: an image
// without a tag is "dangling" to the engine, and the `docker image prune` of a
// cron job would take what the next rollback needs. [Engine.RemoveImage] takes
// the tag away again.
const keepRepository = "remora/keep"

// Resolve asks the registry, through the engine, for the digest of ref: of the
// index where the image is for several platforms. With a platform, an image
// that is not for it is engine.ErrImageNotFound.
func (e *Engine) Resolve(ctx context.Context, ref, platform string) (string, error) {
	what := "resolve image " + ref
	named, err := parseReference(ref)
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	want, err := parsePlatform(platform)
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	return retrying(ctx, what, classifyRegistry, func() (string, error) {
		auth, err := e.credentials(named)
		if err != nil {
			return "", err
		}
		found, err := e.client().DistributionInspect(ctx, reference.FamiliarString(named), auth)
		if err != nil {
			return "", err
		}
		if want == nil || len(found.Platforms) == 0 {
			return found.Descriptor.Digest.String(), nil
		}
		for _, p := range found.Platforms {
			if p.OS == want.OS && p.Architecture == want.Architecture && (want.Variant == "" || p.Variant == want.Variant) {
				return found.Descriptor.Digest.String(), nil
			}
		}
		return "", fmt.Errorf("%w: it is not for platform %s", engine.ErrImageNotFound, platform)
	})
}

// parseReference reads a reference as Docker does: no registry is Docker Hub,
// no tag is latest.
func parseReference(ref string) (reference.Named, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return nil, fmt.Errorf("image reference %q: %w", ref, err)
	}
	return named, nil
}

// Image describes a local image by reference or ID; engine.ErrNotFound where
// the engine does not have it.
func (e *Engine) Image(ctx context.Context, ref string) (engine.Image, error) {
	return ask(ctx, e, "inspect image "+ref, func(ctx context.Context) (engine.Image, error) {
		found, err := e.client().ImageInspect(ctx, ref)
		if err != nil {
			return engine.Image{}, err
		}
		out := convertImage(&found, ref)
		if out.Digest != "" && found.Descriptor != nil {
			if local, err := e.localOnly(ctx, found.ID); err != nil || local {
				out.Digest = ""
				return out, err
			}
		}
		return out, nil
	})
}

// identityAPI is the API from which on the engine says where an image is from.
const identityAPI = "1.53"

// localOnly says that no registry has been seen to have the image. Engines
// that store images in containerd give every image a digest that looks like a
// registry's; from API 1.53 on they say where it is from, which this client
// is too old to ask for by itself.
func (e *Engine) localOnly(ctx context.Context, id string) (bool, error) {
	facts, err := e.engineFacts(ctx)
	if err != nil || versions.LessThan(facts.serverAPI, identityAPI) || !strings.HasPrefix(e.client().DaemonHost(), "unix://") {
		return false, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/v"+identityAPI+"/images/"+id+"/json", nil)
	if err != nil {
		return false, err
	}
	resp, err := e.client().HTTPClient().Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	var answer struct {
		Identity struct{ Pull []struct{ Repository string } }
	}
	if resp.StatusCode != http.StatusOK {
		return false, fmt.Errorf("ask where the image is from: %s", resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return false, fmt.Errorf("ask where the image is from: %w", err)
	}
	return len(answer.Identity.Pull) == 0, nil
}

func convertImage(i *image.InspectResponse, ref string) engine.Image {
	out := engine.Image{ID: i.ID, Digest: registryDigest(i, ref), Size: i.Size}
	c := i.Config
	if c == nil {
		return out
	}
	out.StopSignal = c.StopSignal
	for v := range c.Volumes {
		out.Volumes = append(out.Volumes, v)
	}
	slices.Sort(out.Volumes)
	for p := range c.ExposedPorts {
		number, protocol, _ := strings.Cut(p, "/")
		if n, err := strconv.ParseUint(number, 10, 16); err == nil && (protocol == "" || protocol == "tcp") {
			out.Exposed = append(out.Exposed, uint16(n))
		}
	}
	slices.Sort(out.Exposed)
	out.Healthcheck = convertHealthcheck(c.Healthcheck)
	return out
}

func convertHealthcheck(h *dockerspec.HealthcheckConfig) *manifests.Healthcheck {
	if h == nil {
		return nil
	}
	return &manifests.Healthcheck{
		Test: h.Test, Interval: h.Interval, Timeout: h.Timeout,
		StartPeriod: h.StartPeriod, StartInterval: h.StartInterval, Retries: h.Retries,
	}
}

// registryDigest is the digest by which a registry knows the image: the one
// that ref names, else the one of ref's repository; the first for an ID or a
// tag of our own. A name of somebody's own on an image that came under another
// one has none: no registry could be asked for it by that name.
func registryDigest(i *image.InspectResponse, ref string) string {
	var all []reference.Canonical
	for _, s := range i.RepoDigests {
		named, err := reference.ParseNormalizedNamed(s)
		if c, ok := named.(reference.Canonical); err == nil && ok && !ours(c) {
			all = append(all, c)
		}
	}
	if len(all) == 0 {
		return ""
	}
	slices.SortFunc(all, func(a, b reference.Canonical) int { return strings.Compare(a.String(), b.String()) })
	named, err := reference.ParseDockerRef(ref)
	if err != nil || ref == i.ID || ours(named) {
		return all[0].Digest().String()
	}
	if c, ok := named.(reference.Canonical); ok && slices.ContainsFunc(all, func(a reference.Canonical) bool { return a.Digest() == c.Digest() }) {
		return c.Digest().String()
	}
	for _, c := range all {
		if c.Name() == named.Name() {
			return c.Digest().String()
		}
	}
	return ""
}

// ours says whether a reference is one that this package made.
func ours(r reference.Named) bool {
	return reference.FamiliarName(r) == keepRepository || reference.FamiliarName(r) == lockRepository
}

// keepTag is the tag under which the image of a digest is kept.
func keepTag(d digest.Digest) string { return keepRepository + ":" + d.Encoded() }

// RemoveImage takes away what remora keeps an image by: its own tags, and the
// digest it was pulled by. The image itself goes with that unless somebody
// else has tagged it. engine.ErrConflict where a container uses it,
// engine.ErrNotFound where it is gone.
func (e *Engine) RemoveImage(ctx context.Context, id string) error {
	return do(ctx, "remove image "+short(strings.TrimPrefix(id, "sha256:")), func() error {
		found, err := e.client().ImageInspect(ctx, id)
		if err != nil {
			return err
		}
		names := removable(&found)
		if len(found.RepoTags)+len(found.RepoDigests) == 0 {
			names = []string{found.ID}
		}
		for _, name := range names {
			_, err := e.client().ImageRemove(ctx, name, image.RemoveOptions{})
			if err = classify(err); err != nil && !errors.Is(err, engine.ErrNotFound) {
				return err
			}
		}
		return nil
	})
}

// removable are the names of an image that are ours to remove: our own tags,
// and, where nobody else has tagged it, the digests.
func removable(i *image.InspectResponse) []string {
	var names []string
	foreign := false
	for _, tag := range i.RepoTags {
		named, err := reference.ParseNormalizedNamed(tag)
		_, digested := named.(reference.Canonical)
		switch {
		case err == nil && digested: // some engines list digests among the tags
		case err == nil && ours(named):
			names = append(names, tag)
		default:
			foreign = true
		}
	}
	if !foreign {
		names = append(names, i.RepoDigests...)
	}
	return names
}
