package yamlfile_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/remorahq/remora/internal/yamlfile"
	"github.com/remorahq/remora/manifests"
)

type target struct {
	Name  string             `yaml:"name"`
	Items []item             `yaml:"items"`
	Free  map[string]any     `yaml:"free"`
	Texts map[string]string  `yaml:"texts"`
	After manifests.Duration `yaml:"after"`
}

type item struct {
	Port *int `yaml:"port"`
}

func TestDecode(t *testing.T) {
	var got target
	positions, diags := yamlfile.Decode("f.yaml", []byte("name: n\nitems:\n  - port: 80\nfree: {a: {b: [c]}}\nafter: 90s\n"), &got)
	port := 80
	want := target{
		Name: "n", Items: []item{{Port: &port}}, After: manifests.Duration(90e9),
		Free: map[string]any{"a": map[string]any{"b": []any{"c"}}},
	}
	if diff := cmp.Diff(want, got); diff != "" || len(diags) > 0 {
		t.Errorf("diagnostics %v, decoded (-want +got):\n%s", diags, diff)
	}
	if p := positions["items[0].port"]; p.Line != 3 || p.Column != 5 || p.File != "f.yaml" {
		t.Errorf("items[0].port is at %v, want f.yaml:3:5", p)
	}
}

func TestErrors(t *testing.T) {
	for data, want := range map[string][]string{
		"nam: x\nitems: [{prot: 1}]\n":    {`f.yaml:1:1: nam: unknown key; known here: after, free, items, name, texts`, "f.yaml:2:10: items[0].prot: unknown key"},
		"name: a\nname: b\n":              {"f.yaml:2:1: name: the key is written twice"},
		"name: {a: b}\n":                  {"f.yaml:1:7: name: a mapping where"},
		"name: &a x\ntexts: {k: *a}\n":    {"f.yaml:2:12: texts.k: aliases are not used"},
		"items: [{port: x}, {port: y}]\n": {`f.yaml:1:16: items[0].port: "x" where a whole number belongs`, "where a whole number belongs"},
		"after: 5 seconds\nname: [x]\n":   {`f.yaml:1:8: after: "5 seconds" is no duration; write one such as 30s`, "f.yaml:2:7: name: a list where a single value belongs"},
		"after: [1]\n":                    {"f.yaml:1:8: after: a list where a single value belongs"},
		"items: x\ntexts: y\n":            {`f.yaml:1:8: items: "x" where a list belongs`, `f.yaml:2:8: texts: "y" where a mapping belongs`},
		"a: [\n":                          {"f.yaml:"},
		strings.Repeat("#", 1<<20+1):      {"at most 1 MiB"},
		"free: " + strings.Repeat("{a: ", 60) + "1" + strings.Repeat("}", 60): {"nested too deeply"},
	} {
		var got target
		_, diags := yamlfile.Decode("f.yaml", []byte(data), &got)
		if len(diags) != len(want) {
			t.Errorf("%.40q: got %d diagnostics, want %d: %v", data, len(diags), len(want), diags)
			continue
		}
		for i, d := range diags {
			if !strings.Contains(d.String(), want[i]) {
				t.Errorf("%.40q: %q, want %q", data, d, want[i])
			}
		}
	}
}
