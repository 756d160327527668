package cli

import "testing"

func TestFirstOfWarnings(t *testing.T) {
	for want, list := range map[string][]string{
		"a":                                 {"a"},
		"a (2 more: remora status -o json)": {"a", "b", "c"},
	} {
		if got := firstOf(list); got != want {
			t.Errorf("%q is shown as %q, want %q", list, got, want)
		}
	}
}
