package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// maxCauses is how many causes one sentence lists.
const maxCauses = 4

// Cause says what changed between two releases of a service, as a person
// reads it: "image v1→v2, environment LOG_LEVEL". Values never appear.
func Cause(from, to ledger.Release) string {
	var causes []string
	if c := imageCause(from, to); c != "" {
		causes = append(causes, c)
	}
	a, b := from.Service.Container, to.Service.Container
	causes = appendKeys(causes, "environment", a.Environment, b.Environment)
	causes = appendKeys(causes, "label", a.Labels, b.Labels)
	for _, file := range changedFiles(from.Service.Files, to.Service.Files) {
		causes = append(causes, "config "+file)
	}
	causes = append(causes, fieldCauses(a, b)...)
	if len(causes) == 0 {
		// The unit, or a network or volume, changed: the service did not.
		return "what it shares with others"
	}
	if len(causes) > maxCauses {
		more := len(causes) - maxCauses
		causes = append(causes[:maxCauses:maxCauses], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(causes, ", ")
}

func imageCause(from, to ledger.Release) string {
	a, b := from.Service.Container.Image, to.Service.Container.Image
	switch {
	case Repository(a) != Repository(b):
		return "image " + a + "→" + b
	case from.Tag != to.Tag:
		return "image " + from.Tag + "→" + to.Tag
	case from.Digest != to.Digest:
		return fmt.Sprintf("image %s moved %s→%s", to.Tag, shortDigest(from.Digest), shortDigest(to.Digest))
	case from.Digest == "" && from.ImageID != to.ImageID:
		return fmt.Sprintf("image %s built anew %s→%s", to.Tag, shortDigest(from.ImageID), shortDigest(to.ImageID))
	}
	return ""
}

func shortDigest(d string) string {
	d = strings.TrimPrefix(d, "sha256:")
	return d[:min(len(d), 8)]
}

// appendKeys adds the names of the keys whose values differ.
func appendKeys(causes []string, what string, a, b map[string]string) []string {
	for _, k := range slices.Sorted(maps.Keys(merged(a, b))) {
		if va, ok := a[k]; !ok {
			causes = append(causes, what+" +"+k)
		} else if vb, ok := b[k]; !ok {
			causes = append(causes, what+" -"+k)
		} else if va != vb {
			causes = append(causes, what+" "+k)
		}
	}
	return causes
}

func merged(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, b)
	return out
}

// changedFiles are the base names of the files that differ.
func changedFiles(a, b []manifests.File) []string {
	var out []string
	for _, f := range b {
		if !slices.Contains(a, f) {
			out = append(out, path.Base(f.Path))
		}
	}
	for _, f := range a {
		if !slices.ContainsFunc(b, func(o manifests.File) bool { return o.Path == f.Path }) {
			out = append(out, "-"+path.Base(f.Path))
		}
	}
	return out
}

// fieldCauses are the other fields of the container that differ, by the names
// of its canonical form.
func fieldCauses(a, b manifests.Container) []string {
	a.Image, a.Environment, a.Labels = "", nil, nil
	b.Image, b.Environment, b.Labels = "", nil, nil
	return changedKeys(a, b)
}

// changedKeys are the top-level keys of two values' JSON forms that differ.
func changedKeys(a, b any) []string {
	x, y := fields(a), fields(b)
	var out []string
	all := maps.Clone(x)
	maps.Copy(all, y)
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if !bytes.Equal(x[k], y[k]) {
			out = append(out, asWritten(k))
		}
	}
	return out
}

// asWritten turns a key of the canonical form into the file's way of writing:
// dependsOn becomes depends_on.
func asWritten(key string) string {
	var b strings.Builder
	for i, r := range key {
		if r >= 'A' && r <= 'Z' && i > 0 && (key[i-1] < 'A' || key[i-1] > 'Z') {
			b.WriteByte('_')
		}
		b.WriteString(strings.ToLower(string(r)))
	}
	return b.String()
}

func fields(v any) map[string]json.RawMessage {
	data, err := json.Marshal(v)
	m := map[string]json.RawMessage{}
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil { // plain values only: cannot be
		panic("read fields: " + err.Error())
	}
	return m
}

// settingsCause names the settings that differ.
func settingsCause(a, b manifests.Service) string {
	return strings.Join(changedKeys(json.RawMessage(settings(a)), json.RawMessage(settings(b))), ", ")
}

func scaleCause(from, to int) string { return fmt.Sprintf("replicas %d→%d", from, to) }
