package traffic

import "strings"

// shortHash is how many digits of a release's hash people are shown.
const shortHash = 8

// ShortRelease is a [Release.Name] as people are shown it: of a version and a
// hash the first eight digits of the hash, as names of containers carry them;
// of anything else all.
func ShortRelease(name string) string {
	_, hash, ok := strings.Cut(name, ":")
	if !ok || len(hash) <= shortHash {
		return name
	}
	return hash[:shortHash]
}
