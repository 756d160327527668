package policy

import (
	"strings"
)

// normalise returns a reference's full name with its registry and without tag
// and digest, and whether it has a digest: "nginx:1" is
// "docker.io/library/nginx".
func normalise(ref string) (name string, digest bool) {
	name, _, digest = strings.Cut(ref, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	first, rest, nested := strings.Cut(name, "/")
	switch {
	case !nested:
		return "docker.io/library/" + name, digest
	case first == "index.docker.io":
		name = "docker.io/" + rest
	case !strings.ContainsAny(first, ".:") && first != "localhost":
		name = "docker.io/" + name
	}
	if rest, ok := strings.CutPrefix(name, "docker.io/"); ok && !strings.Contains(rest, "/") {
		name = "docker.io/library/" + rest
	}
	return name, digest
}

// registry says whether a full name matches an entry of the allow-list: a
// registry, a path below one, or a pattern of it.
func registry(pattern, name string) bool {
	pattern = strings.TrimSuffix(pattern, "/")
	if pattern == "*" || name == pattern || strings.HasPrefix(name, pattern+"/") {
		return true
	}
	if prefix, ok := strings.CutSuffix(pattern, "/*"); ok {
		return strings.HasPrefix(name, prefix+"/")
	}
	return glob(pattern, name)
}
