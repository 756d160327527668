package rig_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/rig"
)

var engines rig.Engines

func TestMain(m *testing.M) { os.Exit(engines.Main(m)) }

// get asks a container's own address from inside the engine's namespace.
func get(t *testing.T, e *rig.Engine, url string) (status int, version string) {
	t.Helper()
	client := e.Client()
	defer client.CloseIdleConnections()
	err := rig.Poll(t.Context(), 10*time.Second, func() error {
		resp, err := client.Get(url)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		status = resp.StatusCode
		var answer struct{ Version string }
		_ = json.NewDecoder(resp.Body).Decode(&answer)
		version = answer.Version
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return status, version
}

func TestImageRunsOnEveryLine(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		begun := time.Now()
		image := e.LoadImage(t, rig.Image{
			Name: "web:v7", Expose: []string{"8080/tcp"}, Volumes: []string{"/cache"},
			Healthcheck: &rig.Healthcheck{Interval: 100 * time.Millisecond},
			Files:       map[string]string{"/etc/motd": "hello\n"},
		})
		t.Logf("image loaded in %s", time.Since(begun))
		begun = time.Now()
		c := e.Run(t, rig.Spec{Image: image, Publish: map[string]string{"8080/tcp": "18080"}})
		url := fmt.Sprintf("http://%s:8080/", c.IP(t))
		if status, version := get(t, e, url); status != http.StatusOK || version != "v7" {
			t.Errorf("got %d from %q, want 200 from v7", status, version)
		}
		t.Logf("container answered in %s", time.Since(begun))
		resp, err := http.Get(fmt.Sprintf("http://%s:18080/health", e.Addr()))
		if err != nil {
			t.Fatalf("the published port is not reached from the test: %v", err)
		}
		resp.Body.Close()
		if out, code := c.Exec(t, "/testprogram", "cat", "/etc/motd"); code != 0 || out != "hello\n" {
			t.Errorf("exec printed %q with code %d", out, code)
		}
		rig.Eventually(t, 10*time.Second, "wait for health", func() error {
			if h := c.Inspect(t).State.Health; h == nil || h.Status != "healthy" {
				return fmt.Errorf("health is %+v", h)
			}
			return nil
		})
		if mounts := c.Inspect(t).Mounts; len(mounts) != 1 || mounts[0].Destination != "/cache" {
			t.Errorf("mounts are %+v, want the image's volume", mounts)
		}
		if !strings.Contains(c.Logs(t), "listen http=") {
			t.Errorf("logs are %q", c.Logs(t))
		}
	})
}

func TestEngineRestartKeepsContainers(t *testing.T) {
	for _, line := range rig.Lines() {
		t.Run(string(line), func(t *testing.T) {
			t.Parallel()
			e := rig.StartEngine(t, line)
			image := e.LoadImage(t, rig.Image{Name: "web:v1"})
			always := map[string]any{"RestartPolicy": map[string]any{"Name": "always"}}
			kept := e.Run(t, rig.Spec{Image: image, Host: always})
			paused := e.Run(t, rig.Spec{Image: image})
			paused.Post(t, "pause")
			for name, restart := range map[string]func(){
				"restart":  func() { e.Restart(t) },
				"kill":     func() { e.Kill(t); e.Start(t) },
				"powercut": func() { e.PowerCut(t); e.Start(t) },
			} {
				restart()
				rig.Eventually(t, 20*time.Second, "wait for the container after "+name, func() error {
					if s := kept.Inspect(t).State; !s.Running {
						return fmt.Errorf("it is %s", s.Status)
					}
					return nil
				})
				if s := paused.Inspect(t).State; s.Running && name != "kill" {
					t.Errorf("after %s the container without restart policy is %s", name, s.Status)
				}
				get(t, e, fmt.Sprintf("http://%s:8080/", kept.IP(t)))
			}
		})
	}
}

// A container reaches listeners of the test, and commands run on its network.
func TestNamespaceReachesTheTest(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	queue := rig.StartQueue(t, e.HostAddr(), 20)
	image := e.LoadImage(t, rig.Image{Name: "worker:v1", Cmd: []string{"worker"}})
	e.Run(t, rig.Spec{Image: image, Env: map[string]string{"APP_QUEUE_URL": queue.URL}})
	rig.Eventually(t, 20*time.Second, "wait for the jobs", func() error {
		jobs := queue.Jobs()
		if len(jobs) != 20 || len(jobs[19].Done) != 1 {
			return fmt.Errorf("%d jobs", len(jobs))
		}
		return nil
	})
	for _, job := range queue.Jobs() {
		if len(job.Done) != 1 || job.Done[0].Version != "v1" {
			t.Errorf("job %d was done by %+v", job.Number, job.Done)
		}
	}
	out, err := e.Command("ip", "-4", "addr", "show", "dev", "host0").CombinedOutput()
	if err != nil || !strings.Contains(string(out), e.Addr()) {
		t.Errorf("the command saw %s, %v", out, err)
	}
}
