package main

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/load"
	"github.com/remorahq/remora/e2e/load/check"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/status"
)

// set sets the stage: images, repository, ambassador and agent.
func set(t rig.TB, bin, example string) *demo {
	d := &demo{screen: newScreen(os.Stdout), example: example, ports: [2]int{rig.FreePort(t), rig.FreePort(t)}}
	e := rig.MachineEngine(t)
	d.say(d.bold("remora demo") + "   one host, its Docker Engine, one git repository, and clients that forgive nothing")
	d.image = rig.Unique("remora-demo")
	t.Cleanup(func() { d.nothingLeft(t, e) }) // the last of all
	d.collector = rig.StartCollector(t, e.HostAddr())
	for _, v := range []string{"v1", "v2", "v3", "v4"} {
		image := rig.Image{Name: d.image + ":" + v, Version: v, Env: map[string]string{"APP_RECORD": d.collector.Record}}
		switch v {
		case "v3":
			image.Env["APP_START_DELAY"], image.Env["APP_CRASH_AFTER"], image.Env["APP_EXIT_CODE"] = "10s", "700ms", "3"
		case "v4":
			image.Env["APP_READY_DELAY"] = "2s" // time enough to kill the agent
		}
		e.LoadImage(t, image)
	}
	d.host = host.Start(t, e, host.Options{Bin: bin})
	d.probe = &load.Probe{Dial: e.DialContext, Addr: d.addr(0)}
	t.Cleanup(d.probe.Close)
	d.writeManifests(t)
	return d
}

func (d *demo) addr(port int) string { return fmt.Sprintf("127.0.0.1:%d", d.ports[port]) }

func (d *demo) portsText() string { return fmt.Sprintf("%d and %d", d.ports[0], d.ports[1]) }

// writeManifests commits the example's app.
func (d *demo) writeManifests(t rig.TB) {
	compose, err := os.ReadFile(filepath.Join(d.example, "environments/demo/shop/compose.yaml"))
	if err != nil {
		t.Fatalf("read the example's manifests: %v: run the demo from the repository's root", err)
	}
	text := strings.ReplaceAll(string(compose), "remora-demo", d.image)
	d.host.Commit(t, "add shop", rig.File(d.path("compose.yaml"), text), rig.File(d.path(".env"), d.env(nil)))
}

func (d *demo) path(name string) string {
	return "environments/" + host.Environment + "/shop/" + name
}

// env is the app's .env, with what a release changes.
func (d *demo) env(change map[string]string) string {
	vars := map[string]string{
		"IMAGE": d.image, "WEB_TAG": "v1", "WORKER_TAG": "v1", "DB_TAG": "v1",
		"HTTP_PORT": fmt.Sprint(d.ports[0]), "TCP_PORT": fmt.Sprint(d.ports[1]),
	}
	maps.Copy(vars, change)
	var b strings.Builder
	for _, k := range []string{"IMAGE", "WEB_TAG", "WEB_BROKEN", "WORKER_TAG", "DB_TAG", "HTTP_PORT", "TCP_PORT"} {
		if v, ok := vars[k]; ok {
			fmt.Fprintf(&b, "%s=%s\n", k, v)
		}
	}
	return b.String()
}

// commit pushes a change of the .env and has the agent look, as a webhook
// would.
func (d *demo) commit(t rig.TB, message string, change map[string]string) {
	d.host.Commit(t, message, rig.File(d.path(".env"), d.env(change)))
	d.host.Reconcile(t)
}

// begin starts the clients.
func (d *demo) begin(t rig.TB) {
	http, tcp := d.addr(0), d.addr(1)
	d.move("", "v1")
	d.load = load.Start(t, d.host.Engine.DialContext, d.folder("clients.log"),
		load.Group{Kind: load.Get, Addr: http, Conns: 16, Rate: 450},
		load.Group{Kind: load.Post, Addr: http, Conns: 10, Rate: 280},
		load.Group{Kind: load.Upload, Addr: http, Conns: 1, Rate: 5, Size: 256 << 10},
		load.Group{Kind: load.Chunked, Addr: http, Conns: 1, Rate: 5, Size: 256 << 10},
		load.Group{Kind: load.WebSocket, Addr: http, Conns: 2, Rate: 20},
		load.Group{Kind: load.WebSocket, Addr: http, Conns: 1, Rate: 10, Session: 20},
		load.Group{Kind: load.TCP, Addr: tcp, Conns: 2, Rate: 20},
		load.Group{Kind: load.TCP, Addr: tcp, Conns: 2, Rate: 20, Session: 15},
	)
}

func (d *demo) answered() int64 {
	_, n, _, _ := d.load.Totals()
	return n
}

// move notes that one release loses the traffic and another gets it.
func (d *demo) move(from, to string) {
	now := time.Now()
	d.moves = append(d.moves, check.Move{At: now, Version: from}, check.Move{At: now, Version: to, Active: true})
}

// change switches releases and returns how long it took from the push to the
// first answer of the other release.
func (d *demo) change(t rig.TB, from, to string, push func()) time.Duration {
	d.move(from, to)
	begun := time.Now()
	pushed := make(chan struct{})
	go func() {
		defer close(pushed)
		push()
	}()
	at := d.answers(t, to)
	<-pushed
	d.switches++
	d.until(t, to, healthy(to))
	return at.Sub(begun)
}

// answers waits until a release answers.
func (d *demo) answers(t rig.TB, version string) time.Time {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	at, err := d.probe.Until(ctx, version)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return at
}

// until shows the live status until a release answers and the app is as it
// shall be.
func (d *demo) until(t rig.TB, version string, ok func(status.App) bool) {
	d.waitFor(t, version+" to be in place", ok)
	d.answers(t, version)
	d.table(t)
}

// waitFor shows the live status, on a terminal, until ok.
func (d *demo) waitFor(t rig.TB, what string, ok func(status.App) bool) {
	rig.Eventually(t, 45*time.Second, what, func() error {
		a, found := host.App(d.host.Status(t), "shop")
		if found && ok(a) {
			d.live(nil)
			return nil
		}
		d.live(d.page(t))
		return fmt.Errorf("the app is %s (%s) %s", a.Health, a.Reason, a.Message)
	})
}

// table prints the status as it stands.
func (d *demo) table(t rig.TB) { d.print(d.page(t)) }

// page is what `remora status` prints, of web alone once the rest is known, and
// how the clients fare.
func (d *demo) page(t rig.TB) []string {
	args := []string{"status"}
	if d.load != nil {
		args = append(args, "shop/web")
	}
	out, code := d.host.Remora(t, args...)
	if code != 0 {
		return []string{strings.TrimSpace(out)} // an agent that has just begun knows no app yet
	}
	lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
	if d.load != nil {
		_, answered, _, failed := d.load.Totals()
		lines = append(lines, fmt.Sprintf("clients: %d requests answered, %d failed", answered, failed))
	}
	return lines
}

// rest lets the clients work for a while.
func (d *demo) rest(t rig.TB, length time.Duration) {
	select {
	case <-t.Context().Done():
		t.Fatalf("interrupted")
	case <-time.After(length):
	}
}

// nothingLeft fails the demo where something of it is still on the engine.
func (d *demo) nothingLeft(t rig.TB, e *rig.Engine) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if d.host == nil {
		return // nothing was begun
	}
	filter := "?all=1&filters=" + url.QueryEscape(`{"label":["remora.host=`+d.host.Name+`"]}`)
	for _, kind := range []string{"containers/json", "networks"} {
		var list []struct{ ID string }
		if err := e.Do(ctx, "GET", "/"+kind+filter, nil, &list); err != nil || len(list) > 0 {
			t.Errorf("left behind: %d %s (%v)", len(list), kind, err)
		}
	}
	var images []struct{ RepoTags []string }
	reference := "?filters=" + url.QueryEscape(`{"reference":["`+d.image+`","remora/lock"]}`)
	if err := e.Do(ctx, "GET", "/images/json"+reference, nil, &images); err != nil || len(images) > 0 {
		t.Errorf("left behind: images %v (%v)", images, err)
	}
	var volumes struct{ Volumes []struct{ Name string } }
	if err := e.Do(ctx, "GET", "/volumes"+filter, nil, &volumes); err != nil || len(volumes.Volumes) > 0 {
		t.Errorf("left behind: volumes %v (%v)", volumes.Volumes, err)
	}
}
