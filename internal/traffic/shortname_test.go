package traffic

import (
	"strings"
	"testing"
)

func TestShortRelease(t *testing.T) {
	for name, want := range map[string]string{
		"v1:eec6fc8c" + strings.Repeat("0", 56): "eec6fc8c",
		"v1:short":                              "v1:short",
		"v43":                                   "v43",
		"":                                      "",
	} {
		if got := ShortRelease(name); got != want {
			t.Errorf("%q is shown as %q, want %q", name, got, want)
		}
	}
}
