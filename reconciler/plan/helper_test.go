package plan

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fataler is a test, or a property's run.
type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// parseApp reads one service per line: "web app:v1 port=80:3000 depends=db".
func parseApp(t fataler, text string) manifests.App {
	t.Helper()
	app := manifests.App{Environment: "production", Name: "shop", Project: "shop", Source: "main"}
	app.Networks = []manifests.Network{{Key: "default", Name: "shop_default"}}
	volumes := map[string]manifests.Volume{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if fields[0] == "app" {
			app.Name, app.Project = fields[1], fields[1]
			continue
		}
		app.Services = append(app.Services, parseService(t, fields, volumes))
	}
	for _, key := range slices.Sorted(maps.Keys(volumes)) {
		app.Volumes = append(app.Volumes, volumes[key])
	}
	slices.SortFunc(app.Services, func(a, b manifests.Service) int { return strings.Compare(a.Name, b.Name) })
	return app
}

func parseService(t fataler, fields []string, volumes map[string]manifests.Volume) manifests.Service {
	t.Helper()
	s := manifests.Service{
		Name: fields[0], Unit: fields[0], Kind: manifests.KindWorker, Order: manifests.StopFirst, Replicas: 1,
		Container: manifests.Container{Image: fields[1], Networks: []manifests.Attachment{{Network: "default"}}},
	}
	for _, f := range fields[2:] {
		key, value, _ := strings.Cut(f, "=")
		setField(t, &s, key, value, volumes)
	}
	return s
}

func setField(t fataler, s *manifests.Service, key, value string, volumes map[string]manifests.Volume) {
	t.Helper()
	a, b, _ := strings.Cut(value, ":")
	switch key {
	case "port":
		s.Kind, s.Order = manifests.KindEndpoint, manifests.StartFirst
		s.Ports = append(s.Ports, manifests.Port{Published: number(t, a), Target: number(t, b), Protocol: "tcp"})
		s.Expose = append(s.Expose, number(t, b))
	case "expose":
		s.Kind, s.Order = manifests.KindEndpoint, manifests.StartFirst
		s.Expose = append(s.Expose, number(t, a))
	case "route":
		s.Kind, s.Order = manifests.KindEndpoint, manifests.StartFirst
		s.Routes = append(s.Routes, manifests.Route{Host: a, Path: b, Target: 3000})
		s.Expose = append(s.Expose, 3000)
	case "job":
		s.Kind = manifests.KindOneShot
	case "depends":
		for d := range strings.SplitSeq(value, ",") {
			name, cond, _ := strings.Cut(d, ":")
			dep := manifests.Dependency{Service: name, Condition: manifests.Healthy, Required: true, Restart: cond == "restart"}
			s.DependsOn = append(s.DependsOn, dep)
		}
	case "volume":
		s.Order, s.WritesData, s.OrderWhy = manifests.StopFirst, true, "it mounts "+a+" read-write"
		s.Container.Mounts = append(s.Container.Mounts, manifests.Mount{Kind: manifests.MountVolume, Source: a, Target: "/" + a, ReadOnly: b == "ro"})
		volumes[a] = manifests.Volume{Key: a, Name: "shop_" + a}
	case "bind":
		s.Container.Mounts = append(s.Container.Mounts, manifests.Mount{Kind: manifests.MountHost, Source: a, Target: "/mnt", ReadOnly: b == "ro"})
	case "order":
		s.Order, s.OrderSet = manifests.Order(value), true
	case "replicas":
		s.Replicas = int(number(t, a))
	case "unit":
		s.Unit, s.Container.NetworkMode, s.Container.Networks = a, "service:"+a, nil
	case "env":
		if s.Container.Environment == nil {
			s.Container.Environment = map[string]string{}
		}
		s.Container.Environment[a] = b
	case "file":
		s.Files = append(s.Files, manifests.File{Path: a, Mode: "100644", ID: b})
	case "host":
		s.HostInputs = map[string]string{"/etc/x.env": a}
	case "drain":
		s.Update.Drain = time.Duration(number(t, a)) * time.Second
	case "idempotent":
		s.Idempotent = true
	default:
		t.Fatalf("unknown field %q", key)
	}
}

func number(t fataler, s string) uint16 {
	t.Helper()
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(n)
}

// input is a plan's input on an engine that has the images and the ledger's
// containers and volumes.
func input(app manifests.App, l ledger.App) Input {
	in := Input{App: app, Ledger: l, Images: map[string]Image{}, Key: []byte("key"), ID: "r1", Revision: "main@sha1:1", Now: noon, HTTP: []uint16{80}}
	for _, s := range app.Services {
		in.Images[s.Name] = Image{Digest: "sha256:" + fmt.Sprintf("%x", s.Container.Image), ImageID: "sha256:id" + s.Container.Image}
	}
	for _, name := range l.Volumes {
		in.Volumes = append(in.Volumes, engine.Volume{Name: name})
	}
	for _, name := range l.Networks {
		in.Networks = append(in.Networks, engine.Network{Name: name})
	}
	for _, name := range slices.Sorted(maps.Keys(l.Services)) {
		s := l.Services[name]
		for _, d := range slices.Concat([]*ledger.Deployed{s.Active, s.Standby}, s.Leaving) {
			if d != nil {
				in.Containers = append(in.Containers, containersOf(app, name, d, d == s.Active)...)
			}
		}
	}
	return in
}

func containersOf(app manifests.App, service string, d *ledger.Deployed, active bool) []engine.Container {
	var out []engine.Container
	for _, i := range d.Instances {
		c := engine.Container{
			ID: i.Container, Name: i.Name, State: engine.Paused, Restart: "no", ImageID: d.ImageID, Created: d.Promoted, Started: d.Promoted,
			Labels: map[string]string{
				engine.LabelEnvironment: app.Environment, engine.LabelApp: app.Name, engine.LabelService: service,
				engine.LabelRelease: d.ID, engine.LabelHostrev: d.Hostrev, engine.LabelInstance: i.Key, engine.LabelIndex: strconv.Itoa(i.Index),
				engine.LabelDigest: d.Digest, engine.LabelImage: d.Service.Container.Image, engine.LabelComposeProject: app.Project,
			},
		}
		if active {
			c.State, c.Restart = engine.Running, "unless-stopped"
		}
		for _, m := range d.Service.Container.Mounts {
			if m.Kind == manifests.MountVolume {
				c.Mounts = append(c.Mounts, engine.Observed{Type: "volume", Name: "shop_" + m.Source, Target: m.Target, Writable: !m.ReadOnly})
			}
		}
		out = append(out, c)
	}
	return out
}

// succeed is the ledger after a plan was carried out, with every replaced
// endpoint release standing by.
func succeed(in Input, r Result) ledger.App {
	l := in.Ledger.Clone()
	l.Environment, l.Name, l.Project = in.App.Environment, in.App.Name, in.App.Project
	if l.Services == nil {
		l.Services = map[string]*ledger.Service{}
	}
	for name, c := range r.Changes {
		s := l.Services[name]
		if s == nil {
			s = &ledger.Service{Name: name}
			l.Services[name] = s
		}
		succeedService(&l, s, c)
	}
	for _, n := range r.Networks {
		l.Networks = append(l.Networks, n.Name)
	}
	for _, v := range r.Volumes {
		l.Volumes = append(l.Volumes, v.Name)
	}
	l.NetworkSpecs, l.VolumeSpecs = r.Networks, r.Volumes
	return l
}

func succeedService(l *ledger.App, s *ledger.Service, c *ledger.Change) {
	to := c.To.Clone()
	if to != nil {
		for i := range to.Instances {
			to.Instances[i].Container = "id-" + to.Instances[i].Name
		}
	}
	switch c.Action {
	case ledger.Drop:
		delete(l.Services, s.Name)
	case ledger.Run:
		if s.Jobs == nil {
			s.Jobs = map[string]ledger.Job{}
		}
		s.Jobs[to.ID] = ledger.Job{State: ledger.JobDone}
	case ledger.Replace:
		s.Standby = nil
		if c.From != nil && c.From.ID != to.ID {
			s.Standby = c.From
		}
		s.Active = to
		s.Promoted = slices.DeleteFunc(s.Promoted, func(r ledger.Release) bool { return r.ID == to.ID })
		s.Promoted = slices.Insert(s.Promoted, 0, to.Release)
		s.Promoted = s.Promoted[:min(len(s.Promoted), 5)]
	case ledger.Scale, ledger.Settings:
		s.Active = to
	}
}

// shown is a result as scripts show it.
func shown(r Result) string {
	var b strings.Builder
	if r.Hold != nil {
		fmt.Fprintf(&b, "held %s: %s\n", r.Hold.Reason, r.Hold)
	}
	if r.NoChange {
		b.WriteString("no change\n")
		return b.String()
	}
	fmt.Fprintf(&b, "%s", r.Kind)
	if r.FastLane {
		b.WriteString(" fast")
	}
	b.WriteString("\n")
	for _, w := range r.Waves {
		fmt.Fprintf(&b, "wave %v", w.Services)
		if len(w.Before) > 0 {
			fmt.Fprintf(&b, " before %v", w.Before)
		}
		if len(w.After) > 0 {
			fmt.Fprintf(&b, " after %v", w.After)
		}
		b.WriteString("\n")
	}
	for _, s := range r.Steps {
		b.WriteString(shownStep(s))
	}
	return b.String()
}

func shownStep(s status.PlanStep) string {
	line := fmt.Sprintf("%s: %s — %s", s.Object, s.Action, s.Cause)
	if s.Order != "" {
		line += " (" + s.Order + ")"
	}
	for _, n := range s.Notes {
		line += "\n  " + n
	}
	return line + "\n"
}
