package policy

import (
	"path"
	"path/filepath"
)

// follow returns where a path of this host leads, all links followed. Of a path
// that does not exist, its nearest existing folder is followed.
func follow(name string) string {
	name = path.Clean(name)
	if real, err := filepath.EvalSymlinks(name); err == nil {
		return real
	}
	parent := path.Dir(name)
	if parent == name || parent == "." {
		return name
	}
	return path.Join(follow(parent), path.Base(name))
}

func followAll(names []string) []string {
	out := make([]string, 0, len(names))
	for _, name := range names {
		if name != "" {
			out = append(out, follow(name))
		}
	}
	return out
}
