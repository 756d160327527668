package docker

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLogOptionsOfTheEngine(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	limited := file("limited.json", `{"log-driver": "json-file", "log-opts": {"max-size": "1m"}}`)
	plain := file("plain.json", `{"debug": true}`)
	for name, row := range map[string]struct {
		args []string
		want bool
	}{
		"flag":             {[]string{"dockerd", "--log-opt", "max-size=1m", "--config-file", plain}, true},
		"flag with equals": {[]string{"dockerd", "--log-opt=max-size=1m", "--config-file", plain}, true},
		"file":             {[]string{"dockerd", "--config-file", limited}, true},
		"file with equals": {[]string{"dockerd", "--config-file=" + limited}, true},
		"file without":     {[]string{"dockerd", "--config-file", plain}, false},
		"no file":          {[]string{"dockerd", "--config-file", filepath.Join(dir, "none.json")}, false},
		"torn file":        {[]string{"dockerd", "--config-file", file("torn.json", `{"log-opts": {`)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (daemon{args: row.args}).logOptions(); got != row.want {
				t.Errorf("options: %v, not %v", got, row.want)
			}
		})
	}
}

// TestSeen reads the one process that surely exists.
func TestSeen(t *testing.T) {
	d := seen(os.Getpid())
	if d.pid != os.Getpid() || d.started == "" || len(d.args) == 0 || d.args[0] != os.Args[0] {
		t.Errorf("this process: %+v", d)
	}
	if again := seen(os.Getpid()); again.started != d.started {
		t.Errorf("its start changed: %s, %s", d.started, again.started)
	}
	if d := seenEngine(os.Getpid()); d.pid != 0 {
		t.Errorf("a test passes for an engine: %+v", d)
	}
	if d := seen(1 << 30); d.pid != 0 {
		t.Errorf("a process that is not there: %+v", d)
	}
}
