package load

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/remorahq/remora/manifests"
)

// TestNothingOutsideIsRead: the Compose library opens files by itself. However
// a file is written, it opens none that the scan has not judged, and no message
// quotes one.
func TestNothingOutsideIsRead(t *testing.T) {
	const secret = "swordfish"
	for name, c := range map[string]struct {
		compose string
		env     string
	}{
		"extends":            {compose: "services: {a: {extends: {file: OUT/x.yaml, service: s}, image: a}}"},
		"dots":               {compose: "services: {a: {extends: {file: ../../../../../../../../../..OUT/x.yaml, service: s}, image: a}}"},
		"two merges":         {compose: "x-a: &a {file: ./ok.yaml}\nx-b: &b {file: OUT/x.yaml}\nservices:\n  a:\n    image: a\n    extends:\n      <<: *a\n      <<: *b\n      service: s\n"},
		"two merges, turned": {compose: "x-a: &a {file: ./ok.yaml}\nx-b: &b {file: OUT/x.yaml}\nservices:\n  a:\n    image: a\n    extends:\n      <<: *b\n      <<: *a\n      service: s\n"},
		"merged list":        {compose: "x-a: &a {file: ./ok.yaml}\nx-b: &b {file: OUT/x.yaml}\nservices:\n  a:\n    image: a\n    extends:\n      <<: [*a, *b]\n      service: s\n"},
		"merged list turned": {compose: "x-a: &a {file: ./ok.yaml}\nx-b: &b {file: OUT/x.yaml}\nservices:\n  a:\n    image: a\n    extends:\n      <<: [*b, *a]\n      service: s\n"},
		"quoted merge":       {compose: "x-b: &b {file: OUT/x.yaml}\nservices:\n  a:\n    image: a\n    extends:\n      \"<<\": *b\n      service: s\n"},
		"merged service":     {compose: "x-b: &b {image: a, extends: {file: OUT/x.yaml, service: s}}\nservices:\n  a:\n    <<: *b\n"},
		"override":           {compose: "services: {a: {image: a, extends: !override {file: OUT/x.yaml, service: s}}}"},
		"reset":              {compose: "services: {a: {image: a, extends: !reset {file: OUT/x.yaml, service: s}}}"},
		"two documents":      {compose: "services: {a: {image: a}}\n---\nservices: {a: {extends: {file: OUT/x.yaml, service: s}}}"},
		"variable":           {compose: "services: {a: {image: a, extends: {file: \"${F}\", service: s}}}", env: "F=OUT/x.yaml"},
		"include":            {compose: "include: [OUT/x.yaml]\nservices: {a: {image: a}}"},
		"include variable":   {compose: "include: [\"${F}/x.yaml\"]\nservices: {a: {image: a}}", env: "F=OUT"},
		"include env_file":   {compose: "include: [{path: ./ok.yaml, env_file: OUT/e.env}]\nservices: {a: {image: \"a\", labels: {x: \"${SECRET:-}\"}}}"},
		"include directory":  {compose: "include: [{path: ./uses.yaml, project_directory: OUT}]\nservices: {a: {image: a}}"},
		"include dots":       {compose: "include: [{path: ./uses.yaml, project_directory: ../../../../../../../../..OUT}]\nservices: {a: {image: a}}"},
		"nested include":     {compose: "include: [./deep.yaml]\nservices: {a: {image: a}}"},
		"extended extends":   {compose: "services: {a: {image: a, extends: {file: ./deep2.yaml, service: s}}}"},
		"link":               {compose: "services: {a: {image: a, extends: {file: ./link.yaml, service: s}}}"},
		"link folder":        {compose: "services: {a: {image: a, extends: {file: ./folder/x.yaml, service: s}}}"},
		"env_file":           {compose: "services: {a: {image: a, env_file: OUT/e.env}}"},
		"env_file link":      {compose: "services: {a: {image: a, env_file: ./folder/e.env}}"},
		"label_file":         {compose: "services: {a: {image: a, label_file: OUT/e.env}}"},
		"config":             {compose: "services: {a: {image: a, configs: [c]}}\nconfigs: {c: {file: OUT/e.env}}"},
		"secret link":        {compose: "services: {a: {image: a, secrets: [c]}}\nsecrets: {c: {file: ./folder/e.env}}"},
		"COMPOSE_FILE":       {compose: "services: {a: {image: a}}", env: "COMPOSE_FILE=compose.yaml:OUT/x.yaml"},
		"COMPOSE_ENV_FILES":  {compose: "services: {a: {image: \"a\", labels: {x: \"${SECRET:-}\"}}}", env: "COMPOSE_ENV_FILES=OUT/e.env"},
		"bind link":          {compose: "services: {a: {image: a, volumes: [\"./folder:/x:ro\"]}}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top, root := t.TempDir(), t.TempDir()
			files := map[string]string{
				top + "/x.yaml":     "services: {s: {image: " + secret + ", labels: {x: " + secret + "}}}",
				top + "/e.env":      "SECRET=" + secret,
				top + "/.env":       "SECRET=" + secret,
				root + "/ok.yaml":   "services: {s: {image: ok}}",
				root + "/uses.yaml": "services: {u: {image: \"x${SECRET:-}\"}}",
				root + "/deep.yaml": "include: [OUT/x.yaml]", root + "/deep2.yaml": "services: {s: {image: b, extends: {file: OUT/x.yaml, service: s}}}",
				root + "/compose.yaml": c.compose, root + "/.env": c.env,
			}
			for file, text := range files {
				if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "OUT", top)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for link, target := range map[string]string{"link.yaml": top + "/x.yaml", "folder": top} {
				if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
					t.Fatal(err)
				}
			}
			out := Load(t.Context(), manifests.LoadRequest{Root: root, Bare: true, Primary: true, Host: "h"})
			data, err := json.Marshal(out)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(data), secret) {
				t.Errorf("the answer holds what lies outside: %s", data)
			}
		})
	}
}
