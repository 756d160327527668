package ledger

import "strings"

// Table is what the ambassador's table calls this set of containers: the
// release, and what tells it apart from another set of the same release.
func (d *Deployed) Table() string {
	if d.Set == "" {
		return d.ID
	}
	return d.ID + "." + d.Set
}

// Same says whether both are the same set of containers.
func (d *Deployed) Same(other *Deployed) bool {
	return d != nil && other != nil && d.Table() == other.Table() && d.Hostrev == other.Hostrev
}

// Reference is what the engine is asked for to get the release's image: the
// repository with the digest, or the engine's own ID of an image that no
// registry knows.
func (r *Release) Reference() string {
	ref := r.Service.Container.Image
	if (r.HostLocal || r.Digest == "") && r.ImageID != "" {
		return r.ImageID
	}
	if r.Digest == "" {
		return ref
	}
	name, _, _ := strings.Cut(ref, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return name + "@" + r.Digest
}
