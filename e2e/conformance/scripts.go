package main

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/remorahq/remora/e2e/rig"
)

//go:embed vtc
var scripts embed.FS

// runScripts runs each script of vtc/ under varnishtest, with an ambassador of
// its own: ${http} is where it listens, ${proxied} where it takes PROXY headers,
// and ${script} the port that both lead to.
func runScripts(t rig.TB, s settings) score {
	names, err := fs.Glob(scripts, "vtc/*.vtc")
	if err != nil {
		t.Fatalf("list scripts: %v", err)
	}
	dir := t.TempDir()
	var sc score
	for _, name := range names {
		text, err := scripts.ReadFile(name)
		if err != nil {
			t.Fatalf("read script: %v", err)
		}
		path := filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatalf("write script: %v", err)
		}
		sc.total++
		f := newField(t, s.bin)
		out, err := exec.CommandContext(t.Context(), "varnishtest", "-t", "30",
			fmt.Sprintf("-Dhttp=%d", f.scripted), fmt.Sprintf("-Dproxied=%d", f.proxied), fmt.Sprintf("-Dscript=%d", f.script), path).CombinedOutput()
		if err != nil {
			t.Errorf("vtc: %s: %v\n%s", filepath.Base(name), err, out)
			continue
		}
		sc.passed++
	}
	return sc
}
