package docker_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
)

// TestFieldsHaveTheirEffect looks from inside a container at what its fields
// did.
func TestFieldsHaveTheirEffect(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		d := open(t, e)
		a := newApp(t, e, d)
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("of the host\n"), 0o644))
		must(t, os.Chmod(dir, 0o755))
		made := filepath.Join(dir, "made", "by", "the", "engine")
		n := a.network(t, "default", "10.81.0.0/24")
		spec := manifests.Container{
			Environment: map[string]string{"COLOUR": "blue"}, User: "1000:1000", WorkingDir: "/data", Hostname: "box", Domainname: "example.com",
			ReadOnly: true, CapAdd: []string{"sys_nice"}, CapDrop: []string{"NET_RAW"}, GroupAdd: []string{"4242"},
			SecurityOpt: []string{"no-new-privileges:true"}, Sysctls: map[string]string{"net.ipv4.ip_unprivileged_port_start": "7"},
			Ulimits: []manifests.Ulimit{{Name: "nofile", Soft: 321, Hard: 654}}, Tmpfs: []string{"/scratch:size=1m"}, ShmSize: 5 << 20,
			DNSSearch: []string{"corp.example"}, DNSOpt: []string{"ndots:3"}, ExtraHosts: []string{"db:10.9.8.7"},
			Devices:   []manifests.Device{{Source: "/dev/null", Target: "/dev/nothing", Permissions: "rw"}},
			Resources: manifests.Resources{Memory: 64 << 20, CPUShares: 512, Pids: 77, OOMScoreAdj: 200},
			Init:      new(true), StopSignal: "SIGINT",
		}
		id := a.run(t, a.create("web", "aaaa", func(c *engine.Create) {
			c.Spec, c.Env = spec, map[string]string{"REMORA_INSTANCE": "web-aaaa-1"}
			c.DNS, c.OOMScoreAdj = []string{"10.81.0.250"}, new(300)
			c.Networks = []engine.Endpoint{{Network: n.Name, Address: netip.MustParseAddr("10.81.0.200"), MAC: "02:00:00:00:00:42"}}
			c.Mounts = []engine.Mount{
				{Type: "bind", Source: filepath.Join(dir, "file"), Target: "/etc/file", ReadOnly: true},
				{Type: "bind", Source: made, Target: "/made", Spec: manifests.Mount{Create: true}},
				{Type: "tmpfs", Target: "/memory", Spec: manifests.Mount{Size: 2 << 20, TmpfsMode: 0o1777}},
			}
		}))
		status, mounts := a.exec(t, id, "/testprogram", "cat", "/proc/1/status"), a.exec(t, id, "/testprogram", "cat", "/proc/self/mountinfo")
		for what, row := range map[string]struct{ text, want string }{
			"environment":   {a.exec(t, id, "/testprogram", "env"), "COLOUR=blue\n"},
			"our variables": {a.exec(t, id, "/testprogram", "env"), "REMORA_INSTANCE=web-aaaa-1\n"},
			"user":          {status, "Uid:\t1000\t1000"},
			"group_add":     {status, "4242"},
			"no new privs":  {status, "NoNewPrivs:\t1"},
			"hostname":      {a.exec(t, id, "/testprogram", "cat", "/etc/hostname"), "box"},
			"domainname":    {a.exec(t, id, "/testprogram", "cat", "/etc/hosts"), "box.example.com"},
			"extra_hosts":   {a.exec(t, id, "/testprogram", "cat", "/etc/hosts"), "10.9.8.7\tdb"},
			"fixed address": {a.exec(t, id, "/testprogram", "cat", "/etc/hosts"), "10.81.0.200"},
			"dns_search":    {a.exec(t, id, "/testprogram", "cat", "/etc/resolv.conf"), "search corp.example"},
			"dns_opt":       {a.exec(t, id, "/testprogram", "cat", "/etc/resolv.conf"), "ndots:3"},
			"ulimits":       {a.exec(t, id, "/testprogram", "cat", "/proc/1/limits"), "321                  654"},
			"sysctls":       {a.exec(t, id, "/testprogram", "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"), "7\n"},
			"oom_score_adj": {a.exec(t, id, "/testprogram", "cat", "/proc/1/oom_score_adj"), "300\n"},
			"init":          {a.exec(t, id, "/testprogram", "cat", "/proc/1/comm"), "init"},
			"bind":          {a.exec(t, id, "/testprogram", "cat", "/etc/file"), "of the host\n"},
			"mac_address":   {a.exec(t, id, "/testprogram", "cat", "/sys/class/net/eth0/address"), "02:00:00:00:00:42\n"},
			"devices":       {a.exec(t, id, "/testprogram", "ls", "/dev"), "nothing\n"},
			"read_only":     {mounts, " / / ro,"},
			"tmpfs":         {mounts, " /scratch rw"},
			"tmpfs size":    {mounts, "size=1024k"},
			"shm_size":      {mounts, "size=5120k"},
			"mount tmpfs":   {mounts, "size=2048k"},
		} {
			if !strings.Contains(row.text, row.want) {
				t.Errorf("%s: no %q in\n%s", what, row.want, row.text)
			}
		}
		if _, err := os.Stat(made); err != nil {
			t.Errorf("bind with create: %v", err)
		}
		testInspected(t, e, id)
	})
}

// testInspected checks what has no face inside a container.
func testInspected(t *testing.T, e *rig.Engine, id string) {
	t.Helper()
	var i struct {
		Config     struct{ StopSignal, WorkingDir string }
		HostConfig struct {
			Memory, CPUShares, PidsLimit int64
			CapAdd, CapDrop, DNS         []string
			LogConfig                    struct {
				Type   string
				Config map[string]string
			}
		}
	}
	e.Call(t, "GET", "/containers/"+id+"/json", nil, &i)
	want := "{{SIGINT /data} {67108864 512 77 [CAP_SYS_NICE] [CAP_NET_RAW] [10.81.0.250] {json-file map[max-file:5 max-size:20m]}}}"
	if got := fmt.Sprint(i); got != want {
		t.Errorf("inspected\n%s, not\n%s", got, want)
	}
}

func TestHealth(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		d := open(t, e)
		a := newApp(t, e, d)
		s := follow(t, d)
		check := &manifests.Healthcheck{
			Test: []string{"CMD", "/testprogram", "healthcheck"}, Interval: 50 * time.Millisecond, Timeout: time.Second, Retries: 1,
		}
		good := a.run(t, a.create("web", "aaaa", func(c *engine.Create) { c.Spec.Healthcheck = check }))
		bad := a.run(t, a.create("web", "bbbb", func(c *engine.Create) {
			c.Spec.Healthcheck, c.Spec.Environment = check, map[string]string{"APP_NEVER_READY": "true"}
		}))
		disabled := a.run(t, a.create("web", "cccc", func(c *engine.Create) {
			c.Spec.Healthcheck = &manifests.Healthcheck{Test: []string{"NONE"}}
		}))
		rig.Eventually(t, 20*time.Second, "wait for health", func() error {
			all, err := d.Containers(t.Context())
			if err != nil {
				return err
			}
			health := map[string]engine.Container{}
			for _, c := range all {
				health[c.ID] = c
			}
			if health[good].Health != "healthy" || health[bad].Health != "unhealthy" || health[disabled].Health != "" {
				return fmt.Errorf("%q %q %q", health[good].Health, health[bad].Health, health[disabled].Health)
			}
			if !strings.Contains(health[bad].HealthLog, "status 500") {
				return errors.New(health[bad].HealthLog)
			}
			return nil
		})
		s.until(engine.EventHealth, bad)
	})
}

// TestOOM: engine 20.10 loses the mark now and then, when it hears of the end
// before it hears of the reason; what counts here is that we have what it has.
func TestOOM(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		a := newApp(t, e, open(t, e))
		a.image = e.LoadImage(t, rig.Image{Name: "adapter:big", Files: map[string]string{"/big": strings.Repeat("x", 16<<20)}})
		for try := range 5 {
			id := a.run(t, a.create("job", fmt.Sprint(try), args("cat", "/big"), func(c *engine.Create) {
				c.Spec.Resources = manifests.Resources{Memory: 12 << 20, MemorySwap: 12 << 20}
			}))
			e.Call(t, "POST", "/containers/"+id+"/wait", nil, nil)
			c, theirs := a.container(t, id), e.Container(t, id).Inspect(t).State.OOMKilled
			if c.ExitCode != 137 || c.OOMKilled != theirs {
				t.Errorf("out of memory: %v (the engine says %v), exit code %d", c.OOMKilled, theirs, c.ExitCode)
			}
			if c.OOMKilled {
				return
			}
		}
		t.Error("the engine never noticed")
	})
}
