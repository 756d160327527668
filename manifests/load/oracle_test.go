package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v4"

	"github.com/remorahq/remora/manifests"
)

// facts are what Compose and remora must agree on, by service.
type facts struct {
	Image, User, WorkingDir, Hostname, StopSignal string
	Command, Entrypoint                           []string
	Environment, Labels                           map[string]string
	Ports, Mounts, Networks, CapAdd               []string
}

// TestOracle compares what remora makes of a folder with what Docker Compose
// itself says about it. Known differences, each by design: networks get names
// later, and anonymous volumes and ports without a host port have no identity
// to compare.
func TestOracle(t *testing.T) {
	archives, err := filepath.Glob("testdata/oracle/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, file := range archives {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		root := filepath.Join(t.TempDir(), "oracle")
		extract(t, ar, root)
		out := Load(t.Context(), manifests.LoadRequest{
			Root: root, Bare: true, Primary: true, Host: "h", Policy: manifests.Policy{Preset: manifests.PresetCompose},
		})
		if len(out.Apps) != 1 {
			t.Fatalf("%s: %v %v", file, out.Failed, out.Diagnostics)
		}
		ours := factsOf(&out.Apps[0], root)
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name+"/v2", func(t *testing.T) { compare(t, ours, current(t, root)) })
		if name == "classic" {
			t.Run(name+"/v1", func(t *testing.T) { compareClassic(t, ours, classic(t, root)) })
		}
	}
}

func compare(t *testing.T, ours, theirs map[string]facts) {
	t.Helper()
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("services (-compose +remora):\n%s", diff)
	}
}

// compareClassic compares what the old Compose prints in the same form.
func compareClassic(t *testing.T, ours, theirs map[string]facts) {
	t.Helper()
	for name, f := range ours {
		got := facts{Image: f.Image, User: f.User, Environment: f.Environment, Labels: f.Labels, Networks: f.Networks}
		ours[name] = got
	}
	compare(t, ours, theirs)
}

func factsOf(a *manifests.App, root string) map[string]facts {
	all := map[string]facts{}
	for _, s := range a.Services {
		c := s.Container
		f := facts{
			Image: c.Image, User: c.User, WorkingDir: c.WorkingDir, Hostname: c.Hostname, StopSignal: c.StopSignal,
			Environment: c.Environment, Labels: c.Labels, CapAdd: c.CapAdd,
		}
		if c.Command != nil {
			f.Command = *c.Command
		}
		if c.Entrypoint != nil {
			f.Entrypoint = *c.Entrypoint
		}
		for _, p := range s.Ports {
			f.Ports = append(f.Ports, fmt.Sprintf("%s:%d:%d/%s", p.HostIP, p.Published, p.Target, p.Protocol))
		}
		for _, m := range c.Mounts {
			source := m.Source
			if m.Kind == manifests.MountRepo {
				source = filepath.Join(root, source)
			}
			f.Mounts = append(f.Mounts, fmt.Sprintf("%s:%s ro=%t", source, m.Target, m.ReadOnly))
		}
		for _, n := range c.Networks {
			f.Networks = append(f.Networks, n.Network)
		}
		slices.Sort(f.Ports)
		slices.Sort(f.Mounts)
		all[s.Name] = f
	}
	return all
}

// current asks Docker Compose v2, which the rig of the end-to-end tests builds.
func current(t *testing.T, root string) map[string]facts {
	t.Helper()
	program := os.Getenv("REMORA_TEST_COMPOSE")
	if cache, err := os.UserCacheDir(); err == nil && program == "" {
		if built, _ := filepath.Glob(filepath.Join(cache, "remora-rig", "compose-*", "cmd")); len(built) > 0 {
			program = built[0]
		}
	}
	if program == "" {
		t.Skip("no Docker Compose v2: run the end-to-end tests once, or set REMORA_TEST_COMPOSE")
	}
	var model struct {
		Services map[string]struct {
			Image       string            `json:"image"`
			User        string            `json:"user"`
			WorkingDir  string            `json:"working_dir"`
			Hostname    string            `json:"hostname"`
			StopSignal  string            `json:"stop_signal"`
			Command     []string          `json:"command"`
			Entrypoint  []string          `json:"entrypoint"`
			Environment map[string]string `json:"environment"`
			Labels      map[string]string `json:"labels"`
			CapAdd      []string          `json:"cap_add"`
			Networks    map[string]any    `json:"networks"`
			Ports       []struct {
				HostIP    string `json:"host_ip"`
				Published string `json:"published"`
				Target    int    `json:"target"`
				Protocol  string `json:"protocol"`
			} `json:"ports"`
			Volumes []struct {
				Source   string `json:"source"`
				Target   string `json:"target"`
				ReadOnly bool   `json:"read_only"`
			} `json:"volumes"`
		} `json:"services"`
	}
	// Its output is a compose file again, so dollars are doubled.
	answer := strings.ReplaceAll(string(ask(t, root, program, "config", "--format", "json")), "$$", "$")
	if err := json.Unmarshal([]byte(answer), &model); err != nil {
		t.Fatal(err)
	}
	all := map[string]facts{}
	for name, s := range model.Services {
		f := facts{
			Image: s.Image, User: s.User, WorkingDir: s.WorkingDir, Hostname: s.Hostname, StopSignal: s.StopSignal,
			Command: s.Command, Entrypoint: s.Entrypoint, Environment: s.Environment, Labels: s.Labels, CapAdd: s.CapAdd,
		}
		for _, p := range s.Ports {
			if p.Published == "" {
				p.Published = "0"
			}
			f.Ports = append(f.Ports, fmt.Sprintf("%s:%s:%d/%s", p.HostIP, p.Published, p.Target, p.Protocol))
		}
		for _, v := range s.Volumes {
			f.Mounts = append(f.Mounts, fmt.Sprintf("%s:%s ro=%t", v.Source, v.Target, v.ReadOnly))
		}
		for n := range s.Networks {
			f.Networks = append(f.Networks, n)
		}
		slices.Sort(f.Ports)
		slices.Sort(f.Mounts)
		slices.Sort(f.Networks)
		all[name] = f
	}
	return all
}

// classic asks the distribution's old Compose for a second opinion.
func classic(t *testing.T, root string) map[string]facts {
	t.Helper()
	program, err := exec.LookPath("docker-compose")
	if err != nil {
		t.Skip("no docker-compose")
	}
	var model struct {
		Services map[string]struct {
			Image       string            `yaml:"image"`
			User        string            `yaml:"user"`
			Environment map[string]string `yaml:"environment"`
			Labels      map[string]string `yaml:"labels"`
			Networks    map[string]any    `yaml:"networks"`
		} `yaml:"services"`
	}
	if err := yaml.Unmarshal(ask(t, root, program, "config"), &model); err != nil {
		t.Fatal(err)
	}
	all := map[string]facts{}
	for name, s := range model.Services {
		f := facts{Image: s.Image, User: s.User, Environment: s.Environment, Labels: s.Labels}
		for n := range s.Networks {
			f.Networks = append(f.Networks, n)
		}
		slices.Sort(f.Networks)
		all[name] = f
	}
	return all
}

func ask(t *testing.T, dir, program string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Fatalf("%s: %v: %s", filepath.Base(program), err, exit.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}
