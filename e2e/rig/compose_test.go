package rig_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/remorahq/remora/e2e/rig"
)

func TestCompose(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		project := rig.Unique("shop")
		dir := t.TempDir()
		image := e.LoadImage(t, rig.Image{Name: "web:v1"})
		file := "name: " + project + "\nservices:\n  web:\n    image: " + image + "\n    pull_policy: never\n"
		if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Run("up", func(t *testing.T) {
			e.ComposeUp(t, dir)
			if labels := e.Container(t, project+"-web-1").Inspect(t).Config.Labels; labels["com.docker.compose.version"] != "2.40.3" {
				t.Errorf("labels are %v", labels)
			}
			if config := e.Compose(t, dir, "config", "--format", "json"); !strings.Contains(config, project) {
				t.Errorf("configuration is %s", config)
			}
		})
		var left []struct{ Names []string }
		e.Call(t, http.MethodGet, "/containers/json?all=1", nil, &left)
		for _, c := range left {
			if strings.Contains(c.Names[0], project) {
				t.Errorf("%v is left", c.Names)
			}
		}
	})
}
