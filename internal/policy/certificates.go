package policy

import (
	"fmt"
	"maps"
	"slices"

	"github.com/remorahq/remora/manifests"
)

// certificates judges the files of the host that a route's TLS names: the agent
// reads them as root, and who names a key speaks for its host name.
func (j *judge) certificates(field string, t *manifests.RouteTLS) {
	files := t.Files()
	for _, key := range slices.Sorted(maps.Keys(files)) {
		path := files[key]
		if !j.list(j.Certificates, path, below) {
			j.deny(field+"."+key, path, fmt.Sprintf("certificates: [%q]", path), "file %q of the host is not allowed", path)
		}
	}
}
