package hostfile_test

import (
	"os"
	"strings"
	"testing"

	"github.com/remorahq/remora/manifests/hostfile"
)

// TestDocumented: the ambassador's README.md has a row for each of its settings.
func TestDocumented(t *testing.T) {
	readme, err := os.ReadFile("../../ambassador/README.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, path := range hostfile.Settings() {
		if !strings.HasPrefix(path, "ambassador.") && path != "policy.certificates" {
			continue
		}
		n++
		if !strings.Contains(string(readme), "\n| `"+path+"` |") {
			t.Errorf("ambassador/README.md has no row for %s", path)
		}
	}
	if n < 20 {
		t.Errorf("only %d settings were looked for", n)
	}
}
