package rig

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Image says what an image of the test program is like. The program is
// /testprogram, its entrypoint; see e2e/testprogram for its settings.
type Image struct {
	Name    string            // reference with tag, such as web:v1
	Version string            // what the program calls itself; the part after the colon when empty
	Env     map[string]string // settings of the program (APP_…) and others
	Cmd     []string          // roles; http when empty
	Expose  []string          // such as 8080/tcp
	Volumes []string          // such as /data
	Labels  map[string]string
	User    string // root when empty; 1000:1000 exists as app
	Workdir string
	Stop    string // STOPSIGNAL

	Healthcheck *Healthcheck
	Files       map[string]string // further files, by absolute path
}

// Healthcheck is a HEALTHCHECK by the program's own sub-command.
type Healthcheck struct {
	Test                           []string // CMD /testprogram healthcheck when empty
	Interval, Timeout, StartPeriod time.Duration
	Retries                        int
}

// LoadImage makes the image FROM scratch, loads it, and returns its reference.
// It takes some ten milliseconds: images of one program share their layer.
// On the machine's own engine the image is removed when the test ends.
func (e *Engine) LoadImage(t TB, image Image) string {
	t.Helper()
	archive, err := image.archive(filepath.Join(mustTool(t, testProgramTool()), "testprogram"))
	must(t, "make image "+image.Name, err)
	_, err = e.stream(t.Context(), "/images/load?quiet=1", bytes.NewReader(archive), nil)
	must(t, "load image "+image.Name, err)
	if e.slot == nil {
		t.Cleanup(func() { e.removeImage(t, image.Name) })
	}
	return image.Name
}

// ImageID is the engine's ID of an image: of its configuration on some
// engines, of its manifest on others.
func (e *Engine) ImageID(t TB, ref string) string {
	t.Helper()
	var answer struct{ ID string }
	e.Call(t, "GET", "/images/"+url.PathEscape(ref)+"/json", nil, &answer)
	return answer.ID
}

// TestProgram is the path of the test program on this machine: the same that
// the images hold.
func TestProgram(t TB) string {
	t.Helper()
	return filepath.Join(mustTool(t, testProgramTool()), "testprogram")
}

type layer struct {
	content []byte
	digest  string // hex
}

// archive is the image in the format of `docker save`.
func (i Image) archive(program string) ([]byte, error) {
	base, err := baseLayer(program)
	if err != nil {
		return nil, err
	}
	layers := []layer{base}
	if len(i.Files) > 0 {
		files, err := filesLayer(i.Files)
		if err != nil {
			return nil, err
		}
		layers = append(layers, files)
	}
	config, err := json.Marshal(i.config(layers))
	if err != nil {
		return nil, err
	}
	return i.pack(layers, config)
}

func (i Image) pack(layers []layer, config []byte) ([]byte, error) {
	var paths []string
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, l := range layers {
		paths = append(paths, l.digest+"/layer.tar")
		if err := addFile(w, l.digest+"/layer.tar", l.content, 0o644); err != nil {
			return nil, err
		}
	}
	name := hexSum(config) + ".json"
	manifest, err := json.Marshal([]map[string]any{{"Config": name, "RepoTags": []string{i.Name}, "Layers": paths}})
	if err != nil {
		return nil, err
	}
	if err := addFile(w, name, config, 0o644); err != nil {
		return nil, err
	}
	if err := addFile(w, "manifest.json", manifest, 0o644); err != nil {
		return nil, err
	}
	return out.Bytes(), w.Close()
}

// config is the image's configuration (OCI image specification, config.md).
func (i Image) config(layers []layer) map[string]any {
	container := map[string]any{
		"Entrypoint": []string{"/testprogram"}, "Env": i.environment(), "WorkingDir": "/",
	}
	set := func(key string, present bool, value any) {
		if present {
			container[key] = value
		}
	}
	set("Cmd", len(i.Cmd) > 0, i.Cmd)
	set("User", i.User != "", i.User)
	set("WorkingDir", i.Workdir != "", i.Workdir)
	set("Labels", len(i.Labels) > 0, i.Labels)
	set("StopSignal", i.Stop != "", i.Stop)
	set("ExposedPorts", len(i.Expose) > 0, setOf(i.Expose))
	set("Volumes", len(i.Volumes) > 0, setOf(i.Volumes))
	set("Healthcheck", i.Healthcheck != nil, i.Healthcheck.config())
	var diffs []string
	var history []map[string]any
	for _, l := range layers {
		diffs = append(diffs, "sha256:"+l.digest)
		history = append(history, map[string]any{"created": imageTime, "created_by": "remora test rig"})
	}
	return map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "created": imageTime, "config": container, "history": history,
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
	}
}

// imageTime is fixed, so that the same image has the same ID everywhere.
const imageTime = "2020-01-01T00:00:00Z"

func (i Image) environment() []string {
	version := i.Version
	if version == "" {
		_, version, _ = strings.Cut(i.Name[strings.LastIndex(i.Name, "/")+1:], ":")
	}
	env := map[string]string{"PATH": "/", "APP_VERSION": version}
	maps.Copy(env, i.Env)
	var out []string
	for _, key := range slices.Sorted(maps.Keys(env)) {
		out = append(out, key+"="+env[key])
	}
	return out
}

func (h *Healthcheck) config() map[string]any {
	if h == nil {
		return nil
	}
	test := h.Test
	if len(test) == 0 {
		test = []string{"CMD", "/testprogram", "healthcheck"}
	}
	return map[string]any{
		"Test": test, "Interval": h.Interval, "Timeout": h.Timeout,
		"StartPeriod": h.StartPeriod, "Retries": h.Retries,
	}
}

func setOf(keys []string) map[string]struct{} {
	m := map[string]struct{}{}
	for _, k := range keys {
		m[k] = struct{}{}
	}
	return m
}

// baseLayer holds the program, users and the folders that programs expect.
func baseLayer(program string) (layer, error) {
	binary, err := os.ReadFile(program)
	if err != nil {
		return layer{}, fmt.Errorf("read test program: %w", err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, dir := range []struct {
		name string
		mode int64
	}{{"tmp/", 0o1777}, {"etc/", 0o755}, {"data/", 0o777}} {
		h := &tar.Header{Typeflag: tar.TypeDir, Name: dir.name, Mode: dir.mode, ModTime: time.Unix(0, 0)}
		if err := w.WriteHeader(h); err != nil {
			return layer{}, err
		}
	}
	for _, file := range []struct {
		name, content string
		mode          int64
	}{
		{"etc/passwd", "root:x:0:0:root:/:/\napp:x:1000:1000:app:/:/\n", 0o644},
		{"etc/group", "root:x:0:\napp:x:1000:\n", 0o644},
		{"testprogram", string(binary), 0o755},
	} {
		if err := addFile(w, file.name, []byte(file.content), file.mode); err != nil {
			return layer{}, err
		}
	}
	return finish(w, &out)
}

func filesLayer(files map[string]string) (layer, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if err := addFile(w, strings.TrimPrefix(path, "/"), []byte(files[path]), 0o644); err != nil {
			return layer{}, err
		}
	}
	return finish(w, &out)
}

func finish(w *tar.Writer, out *bytes.Buffer) (layer, error) {
	if err := w.Close(); err != nil {
		return layer{}, err
	}
	return layer{content: out.Bytes(), digest: hexSum(out.Bytes())}, nil
}

func addFile(w *tar.Writer, name string, content []byte, mode int64) error {
	h := &tar.Header{Name: name, Mode: mode, Size: int64(len(content)), ModTime: time.Unix(0, 0)}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
