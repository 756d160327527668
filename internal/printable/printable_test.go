package printable

import (
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext\n→ é":      "plain\ttext\n→ é",
		"\x1b[2J\x1b]0;title\a": "^[[2J^[]0;title^G",
		"a\r\nb\rc\x7f":         "a\nb^Mc^?",
		"\u009b2J \xff":         "\ufffd2J \ufffd",
		"user\u202egpj.exe":     "user\ufffdgpj.exe",
	} {
		if got := Text(in); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestDeep(t *testing.T) {
	type inner struct {
		Text  string
		Bytes []byte
	}
	type outer struct {
		Inner   *inner
		List    []string
		Structs []inner
		Map     map[string]inner
		Any     any
		hidden  string
	}
	const bad, good = "\x1b[1A", "^[[1A"
	v := outer{
		&inner{bad, []byte(bad)},
		[]string{bad},
		[]inner{{Text: bad}},
		map[string]inner{bad: {Text: bad}},
		map[string]any{"a": []any{bad, 1}},
		bad,
	}
	Deep(&v)
	want := outer{
		&inner{good, []byte(bad)},
		[]string{good},
		[]inner{{Text: good}},
		map[string]inner{good: {Text: good}},
		map[string]any{"a": []any{good, 1}},
		bad,
	}
	if diff := cmp.Diff(want, v, cmp.AllowUnexported(outer{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	Deep(new(*inner)) // nothing is there
}

func TestWriter(t *testing.T) {
	for in, want := range map[string]string{
		"\x1b[31mred\x1b[0m\n":                  "\x1b[31mred\x1b[0m\n\x1b[0m",
		"a\x1b[2J\x1b[1;31Hb\x1bc\x1b":          "a^[[2J^[[1;31Hb^[c^[",
		"10%\r20%\r\nend\r":                     "10%\n20%\nend",
		"é \u009b1A \xc3":                       "é \ufffd1A \ufffd",
		"\x1b[" + strings.Repeat("1", 40) + "m": "^[[" + strings.Repeat("1", 40) + "m",
	} {
		for _, step := range []int{1, 2, 3, len(in)} {
			var b strings.Builder
			w := NewWriter(&b)
			for rest := in; rest != ""; {
				n := min(step, len(rest))
				if got, err := w.Write([]byte(rest[:n])); err != nil || got != n {
					t.Fatal(got, err)
				}
				rest = rest[n:]
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if b.String() != want {
				t.Errorf("%q by %d gave %q, want %q", in, step, b.String(), want)
			}
		}
	}
}

// FuzzWriter: however a stream is cut, no control character but those of
// colours comes through.
func FuzzWriter(f *testing.F) {
	f.Add("\x1b[31m\x1b[2J\u009b", 2)
	f.Add("\r\n\x1b\x1b[m", 1)
	f.Fuzz(func(t *testing.T, in string, cut int) {
		cut = max(0, min(cut, len(in)))
		var b strings.Builder
		w := NewWriter(&b)
		for _, part := range []string{in[:cut], in[cut:]} {
			if _, err := w.Write([]byte(part)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		out := b.String()
		for i, r := range out {
			if r == 0x1b {
				end := strings.IndexByte(out[i:], 'm')
				if end < 2 || out[i+1] != '[' || strings.Trim(out[i+2:i+end], "0123456789;:") != "" {
					t.Fatalf("%q gave %q", in, out)
				}
				continue
			}
			if unicode.IsControl(r) && r != '\n' && r != '\t' {
				t.Fatalf("%q gave %q", in, out)
			}
		}
	})
}
