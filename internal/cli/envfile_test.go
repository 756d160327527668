package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestSetVariableChangesOneValueOnly(t *testing.T) {
	for name, tc := range map[string]struct{ in, value, want string }{
		"plain":             {"A=1\nWEB_TAG=v43\nB=2\n", "v44", "A=1\nWEB_TAG=v44\nB=2\n"},
		"comment_behind":    {"WEB_TAG=v43  # the shop\n", "v44", "WEB_TAG=v44  # the shop\n"},
		"comment_out":       {"#WEB_TAG=v1\nWEB_TAG=v43\n", "v44", "#WEB_TAG=v1\nWEB_TAG=v44\n"},
		"double_quotes":     {"WEB_TAG=\"v43\" # x\n", "v44", "WEB_TAG=\"v44\" # x\n"},
		"single_quotes":     {"WEB_TAG='v43'\n", "v44", "WEB_TAG='v44'\n"},
		"export":            {"export WEB_TAG=v43\n", "v44", "export WEB_TAG=v44\n"},
		"colon":             {"WEB_TAG: v43\n", "v44", "WEB_TAG: v44\n"},
		"spaces":            {"  WEB_TAG = v43\n", "v44", "  WEB_TAG = v44\n"},
		"crlf":              {"A=1\r\nWEB_TAG=v43\r\nB=2\r\n", "v44", "A=1\r\nWEB_TAG=v44\r\nB=2\r\n"},
		"last_counts":       {"WEB_TAG=v1\nWEB_TAG=v43\n", "v44", "WEB_TAG=v1\nWEB_TAG=v44\n"},
		"missing":           {"A=1\n", "v44", "A=1\nWEB_TAG=v44\n"},
		"missing_crlf":      {"A=1\r\n", "v44", "A=1\r\nWEB_TAG=v44\r\n"},
		"no_line_end":       {"A=1", "v44", "A=1\nWEB_TAG=v44\n"},
		"empty_file":        {"", "v44", "WEB_TAG=v44\n"},
		"empty_value":       {"WEB_TAG=\nB=2\n", "v44", "WEB_TAG=v44\nB=2\n"},
		"empty_and_comment": {"WEB_TAG=# none\n", "v44", "WEB_TAG=v44 # none\n"},
		"inside_quotes":     {"CERT=\"a\nWEB_TAG=no\nb\"\nWEB_TAG=v43\n", "v44", "CERT=\"a\nWEB_TAG=no\nb\"\nWEB_TAG=v44\n"},
		"longer_name":       {"MY_WEB_TAG=1\nWEB_TAG_OLD=2\nWEB_TAG=v43\n", "v44", "MY_WEB_TAG=1\nWEB_TAG_OLD=2\nWEB_TAG=v44\n"},
		"needs_quotes":      {"WEB_TAG=v43\n", "a b", "WEB_TAG='a b'\n"},
		"needs_double":      {"WEB_TAG=v43\n", "it's $5", "WEB_TAG=\"it's \\$5\"\n"},
		"digest":            {"WEB_TAG=v43\n", "v44@sha256:0a1b", "WEB_TAG=v44@sha256:0a1b\n"},
		"no_trailing":       {"WEB_TAG=v43", "v44", "WEB_TAG=v44"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := setVariable([]byte(tc.in), "WEB_TAG", tc.value)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(got)); diff != "" {
				t.Error(diff)
			}
			if v, ok := variable(got, "WEB_TAG"); !ok || v != tc.value {
				t.Errorf("reads back as %q, %v", v, ok)
			}
		})
	}
	if _, err := setVariable(nil, "A", "x\ny"); err == nil {
		t.Error("a line break in a value is taken")
	}
}

// TestSetVariableOnAnyFile sets a variable in files of any content: it reads
// back, and every other variable is as it was.
func TestSetVariableOnAnyFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.SampledFrom([]string{
			"A=1", "B='x y'", "C=\"q\\\"$\" # c", "# note", "", "WEB_TAG=v1", "export WEB_TAG='v2'", "D=", "  E : 5", "noise", "F=\"two", "lines\"", "=", "G='never ends",
		})
		end := rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "end")
		in := []byte(strings.Join(rapid.SliceOf(line).Draw(t, "lines"), end))
		value := rapid.StringMatching(`[ -~äß]*`).Draw(t, "value")
		before := map[string]string{}
		for _, a := range assignments(in) {
			before[a.name], _ = variable(in, a.name)
		}
		out, err := setVariable(in, "WEB_TAG", value)
		for _, a := range assignments(in) {
			if a.broken {
				if err == nil {
					t.Fatalf("a quote that never ends is taken: %q", in)
				}
				return
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := variable(out, "WEB_TAG"); !ok || got != value {
			t.Fatalf("WEB_TAG reads back as %q, want %q, in\n%s", got, value, out)
		}
		for name, want := range before {
			if name == "WEB_TAG" {
				continue
			}
			if got, ok := variable(out, name); !ok || got != want {
				t.Fatalf("%s became %q, was %q, in\n%s", name, got, want, out)
			}
		}
		again, err := setVariable(out, "WEB_TAG", value)
		if err != nil || string(again) != string(out) {
			t.Fatalf("a second set changes the file: %q, %q", out, again)
		}
	})
}

func FuzzSetVariable(f *testing.F) {
	f.Add([]byte("A='x\nWEB_TAG=\"v1\nB: 2 # c\r\n"), "v2")
	f.Add([]byte("export\nWEB_TAG\n:=:\n'"), "")
	f.Fuzz(func(t *testing.T, in []byte, value string) {
		out, err := setVariable(in, "WEB_TAG", value)
		if err != nil {
			return
		}
		if got, ok := variable(out, "WEB_TAG"); !ok || got != value {
			t.Errorf("set %q in %q gives %q, which reads as %q", value, in, out, got)
		}
	})
}
