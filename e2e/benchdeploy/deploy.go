package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/load"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/status"
)

// one is an image and how a compose file checks it.
type one struct {
	name   string
	health *rig.Healthcheck
	probe  string
}

func cases() []one {
	return []one{
		{name: "no check"},
		{name: "HTTP probe", probe: "    x-remora: {probe: {http: /health}}\n"},
		{name: "HEALTHCHECK every 30 s", health: &rig.Healthcheck{Interval: 30 * time.Second, Timeout: 5 * time.Second, Retries: 3}},
	}
}

// compose has one published service; nothing is monitored for long, so that
// the next run need not wait.
func (c one) compose(image string, port int) string {
	return fmt.Sprintf("services:\n  web:\n    image: %s:${TAG}\n    ports: [\"%d:8080\"]\n    deploy: {update_config: {monitor: 100ms}}\n%s", image, port, c.probe)
}

// result holds medians in milliseconds.
type result struct {
	floor                    float64
	remora, remoraKnown      float64
	returned, returnKnown    float64
	remoraWorst, returnWorst float64
}

func (r result) print(name string) {
	fmt.Printf("%-24s %9.1f %9.1f %9.1f %11.1f %9.1f %9.1f\n", name, r.floor, r.remora, r.remora-r.floor, r.remoraKnown, r.returned, r.returnKnown)
}

// measure deploys and takes back one image again and again; beside each
// deploy, Docker alone starts the same image.
func measure(t rig.TB, e *rig.Engine, s settings, c one) result {
	name := rig.Unique("bench")
	image := func(i int) string {
		tag := fmt.Sprintf("v%d", i)
		e.LoadImage(t, rig.Image{Name: name + ":" + tag, Version: tag, Expose: []string{"8080/tcp"}, Healthcheck: c.health})
		return tag
	}
	h := host.Start(t, e, host.Options{Bin: s.bin})
	t.Cleanup(func() { keepLog(t, s, h, c) })
	port := rig.FreePort(t)
	h.App(t, "shop", c.compose(name, port), map[string]string{"TAG": image(0)})
	h.Reconcile(t)
	settled(t, h)
	client := &load.Probe{Dial: e.DialContext, Addr: fmt.Sprintf("127.0.0.1:%d", port)}
	defer client.Close()

	var floor, remora, remoraKnown, returned, returnKnown []float64
	for i := 1; i <= s.runs; i++ {
		tag := image(i)
		// By turns before and after: the first container of an image is slower.
		if i%2 == 1 {
			floor = append(floor, ms(docker(t, e, name+":"+tag)))
		}
		all, known := deploy(t, h, client, func() { h.Set(t, "shop", map[string]string{"TAG": tag}) }, tag)
		remora, remoraKnown = append(remora, ms(all)), append(remoraKnown, ms(known))
		settled(t, h)
		if i%2 == 0 {
			floor = append(floor, ms(docker(t, e, name+":"+tag)))
		}
		all, known = deploy(t, h, client, func() { h.Repo.Revert(t, "main") }, "v0")
		returned, returnKnown = append(returned, ms(all)), append(returnKnown, ms(known))
		settled(t, h)
	}
	h.Close(t)
	return result{
		floor: median(floor), remora: median(remora), remoraKnown: median(remoraKnown),
		returned: median(returned), returnKnown: median(returnKnown),
		remoraWorst: slices.Max(remora), returnWorst: slices.Max(returnKnown),
	}
}

// settled waits until the app is promoted and the way back is instant, but
// for a first release, which has none.
func settled(t rig.TB, h *host.Host) {
	h.WaitApp(t, "shop", 60*time.Second, "settled", func(a status.App) bool {
		s := host.Service(a, "web")
		first := len(s.Instances) == 1
		if len(s.Instances) > 2 {
			return false // a former standby is still on its way out
		}
		return a.Health == status.Healthy && a.Sync == status.Synced && a.Rollout == nil && (first || s.Back == "instant")
	})
}

// docker is the floor: create, start and the first good answer, through the
// engine's API and the container's own address, on the network that remora made
// for the app.
func docker(t rig.TB, e *rig.Engine, image string) time.Duration {
	begun := time.Now()
	c, err := e.TryRun(t.Context(), rig.Spec{Image: image, Host: map[string]any{"NetworkMode": "shop_default"}})
	if err != nil {
		t.Fatalf("run %s: %v", image, err)
	}
	p := &load.Probe{Dial: e.DialContext, Addr: c.IP(t) + ":8080"}
	defer p.Close()
	took := answered(t, p, image[strings.LastIndex(image, ":")+1:]).Sub(begun)
	if err := c.Remove(t.Context()); err != nil {
		t.Fatalf("remove container: %v", err)
	}
	return took
}

// deploy pushes a commit and measures from the call of `remora reconcile`, and
// from the moment that the agent knew the revision, to the version's first
// answer.
func deploy(t rig.TB, h *host.Host, p *load.Probe, commit func(), version string) (all, known time.Duration) {
	commit()
	logged := len(h.Agent().Output(t))
	begun := time.Now()
	called := make(chan string, 1)
	go func() {
		out, code := h.Remora(t, "reconcile")
		if code == 0 {
			out = ""
		}
		called <- out
	}()
	at := answered(t, p, version)
	if out := <-called; out != "" {
		t.Fatalf("remora reconcile: %s", out)
	}
	return at.Sub(begun), at.Sub(fetched(t, h.Agent().Output(t)[logged:]))
}

var fetchLine = regexp.MustCompile(`time=(\S+) level=INFO msg=fetched`)

// fetched is the time of the log's line that a new revision was fetched,
// verified and written to disk.
func fetched(t rig.TB, log string) time.Time {
	m := fetchLine.FindStringSubmatch(log)
	if m == nil {
		t.Fatalf("the agent's log has no fetched revision:\n%s", log)
	}
	at, err := time.Parse(time.RFC3339Nano, m[1])
	if err != nil {
		t.Fatalf("read the time of %q: %v", m[0], err)
	}
	return at
}

// answered is when the version first answered.
func answered(t rig.TB, p *load.Probe, version string) time.Time {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	at, err := p.Until(ctx, version)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return at
}

func keepLog(t rig.TB, s settings, h *host.Host, c one) {
	if s.keep == "" {
		return
	}
	f, err := os.OpenFile(s.keep, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatalf("keep log: %v", err)
	}
	defer f.Close() //nolint:errcheck // the write has said how it went
	if _, err := fmt.Fprintf(f, "# %s\n%s", c.name, h.Agent().Output(t)); err != nil {
		t.Fatalf("keep log: %v", err)
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	if n == 0 {
		return 0
	}
	return (v[(n-1)/2] + v[n/2]) / 2
}
