package ambassador

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/remorahq/remora/ambassador/page"
	"github.com/remorahq/remora/internal/traffic"
)

// TestDocumented: README.md has a row for every metric, with its labels, and
// for every reason code.
func TestDocumented(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range page.Reasons() {
		if !bytes.Contains(readme, []byte("| `"+string(r.Code)+"` |")) {
			t.Errorf("README.md has no row for the reason %s", r.Code)
		}
	}
	r := newRig(t)
	port := freePort(t)
	r.put(table(port, traffic.HTTP, "v1", rel("v1", traffic.Active, startBackend(t, "v1"))))
	connect(t, port).want("GET", get("/"), 200, "v1")
	r.put(table(port, traffic.HTTP, "", rel("v1", traffic.Active)))
	connect(t, port).want("GET", get("/"), 503, "")
	var out bytes.Buffer
	if err := r.wk.WriteMetrics(&out); err != nil {
		t.Fatal(err)
	}
	help := regexp.MustCompile(`# TYPE remora_ambassador_(\S+) (\S+)`)
	for _, m := range help.FindAllStringSubmatch(out.String(), -1) {
		// A reason may have the same name.
		row := slices.Concat(regexp.MustCompile("(?m)^\\| `"+m[1]+"` \\| [^|]*\\|").FindAll(readme, -1)...)
		if row == nil {
			t.Errorf("README.md has no row for the metric %s (%s)", m[1], m[2])
			continue
		}
		line := regexp.MustCompile(`(?m)^remora_ambassador_` + m[1] + `(?:_count)?\{(.*)\} `).FindStringSubmatch(out.String())
		if line == nil {
			continue
		}
		for _, label := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(line[1], -1) {
			if !strings.Contains(string(row), label[1]) {
				t.Errorf("README.md does not name the label %s of %s", label[1], m[1])
			}
		}
	}
}
