package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
)

// newest takes every field.
var newest = Facts{API: "1.51", LogDriver: "json-file"}

// elsewhere are the fields of the manifest's container that do not go into
// the payload from there, with what takes their place.
var elsewhere = map[string]string{
	"Spec.Image":       "Create.Image",
	"Spec.Name":        "Create.Name",
	"Spec.Restart":     "Create.Restart",
	"Spec.NetworkMode": "Create.NetworkMode",
	"Spec.Networks":    "Create.Networks",
	"Spec.Links":       "Create.ExtraHosts and Create.Networks",
	"Spec.VolumesFrom": "Create.Mounts",
	"Spec.Mounts":      "Create.Mounts",
	"Spec.PostStart":   "run by exec",
	"Spec.PreStop":     "run by exec",

	"Spec.Published.App":    "the ambassador's",
	"Spec.Published.Docker": "always true here",

	"Mounts.Spec.Kind":     "Mount.Type",
	"Mounts.Spec.Source":   "Mount.Source",
	"Mounts.Spec.Target":   "Mount.Target",
	"Mounts.Spec.ReadOnly": "Mount.ReadOnly",
	"Mounts.Spec.Content":  "a file on the host",
	"Mounts.Spec.UID":      "a file on the host",
	"Mounts.Spec.GID":      "a file on the host",
	"Mounts.Spec.Mode":     "a file on the host",
}

// base is a container that is as plain as possible with what every field
// needs around it.
func base() engine.Create {
	return engine.Create{Name: "shop-web-1", Image: "web@sha256:0", NetworkMode: "shop", Networks: []engine.Endpoint{{Network: "shop"}}}
}

// TestPayloadCarriesEveryField sets one field after the other, nested ones
// too, and expects each to change what is sent: compared with the same
// container that has the structure around the field, but not the field.
func TestPayloadCarriesEveryField(t *testing.T) {
	walk(reflect.TypeFor[engine.Create](), "", func(path string) {
		t.Run(path, func(t *testing.T) {
			without, with := base(), base()
			if parent := strings.LastIndexByte(path, '.'); parent > 0 {
				enter(field(reflect.ValueOf(&without).Elem(), path[:parent]))
			}
			fill(field(reflect.ValueOf(&with).Elem(), path))
			before := encode(t, mustPayload(t, settle(without, path), newest))
			after := encode(t, mustPayload(t, settle(with, path), newest))
			if changed := before != after; changed == (elsewhere[path] != "") {
				t.Errorf("field %s changes the payload: %v; it is listed as carried elsewhere (%q)", path, changed, elsewhere[path])
			}
		})
	})
}

// settle gives a mutated container what the mutated field makes sense with.
func settle(c engine.Create, path string) engine.Create {
	for i := range c.Mounts {
		m := &c.Mounts[i]
		if m.Target == "" {
			m.Target = "/data"
		}
		switch {
		case m.Type != "" && m.Type != "sample":
		case strings.HasPrefix(path, "Mounts.Spec.NoCopy"), strings.HasPrefix(path, "Mounts.Spec.Subpath"):
			m.Type = "volume"
		case strings.HasPrefix(path, "Mounts.Spec.Size"), strings.HasPrefix(path, "Mounts.Spec.TmpfsMode"), m.Type == "sample":
			m.Type = "tmpfs"
		default:
			m.Type = "bind"
		}
		if m.Spec.Recursive == "sample" {
			m.Spec.Recursive = "disabled"
		}
	}
	if len(c.Networks) > 0 && c.NetworkMode != "sample" {
		c.NetworkMode = c.Networks[0].Network
	}
	if c.NetworkMode == "sample" {
		c.NetworkMode, c.Networks = "host", nil
	}
	return c
}

// walk calls visit with the path of each field below t. A list of structures
// is visited as such and then field by field.
func walk(t reflect.Type, path string, visit func(string)) {
	for f := range t.Fields() {
		name := strings.TrimPrefix(path+"."+f.Name, ".")
		elem := f.Type
		for elem.Kind() == reflect.Pointer || elem.Kind() == reflect.Slice {
			elem = elem.Elem()
		}
		if elem.Kind() != reflect.Struct || elem == reflect.TypeFor[netip.Addr]() {
			visit(name)
			continue
		}
		if f.Type.Kind() != reflect.Struct && name != "Networks" && name != "Mounts" {
			visit(name)
		}
		if elsewhere[name] == "" {
			walk(elem, name, visit)
		}
	}
}

// field finds a field by its path, making what lies on the way.
func field(v reflect.Value, path string) reflect.Value {
	for name := range strings.SplitSeq(path, ".") {
		v = enter(v).FieldByName(name)
	}
	return v
}

func enter(v reflect.Value) reflect.Value {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return v.Elem()
	case reflect.Slice:
		if v.Len() == 0 {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		}
		return v.Index(0)
	default:
		return v
	}
}

// fill gives v a value that is not its zero.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("sample")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(7 * time.Second))
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"sample": "value"}))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[netip.Addr]() {
			v.Set(reflect.ValueOf(netip.MustParseAddr("10.1.2.3")))
			return
		}
		for _, f := range v.Fields() {
			fill(f)
		}
	default:
		panic(fmt.Sprintf("fill %s", v.Type()))
	}
}

func mustPayload(t *testing.T, c engine.Create, f Facts) Request {
	t.Helper()
	r, err := Payload(c, f)
	if err != nil {
		t.Fatalf("payload: %v", err)
	}
	return r
}

func encode(t *testing.T, r Request) string {
	t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestDenyKnowsExactlyWhatPayloadSets holds the lists of deny.go equal to what
// Payload sets with every field of a container in use.
func TestDenyKnowsExactlyWhatPayloadSets(t *testing.T) {
	set := map[string]map[string]bool{"config": {}, "host": {}, "resources": {}, "mount": {}}
	note := func(kind string, v any) {
		rv := reflect.ValueOf(v)
		for i := range rv.NumField() {
			if !rv.Field(i).IsZero() {
				set[kind][rv.Type().Field(i).Name] = true
			}
		}
	}
	collect := func(c engine.Create, f Facts) {
		r, err := Payload(c, f)
		if err != nil {
			return // a version that does not take it
		}
		note("config", *r.Body.Config)
		note("host", *r.Body.HostConfig)
		note("resources", r.Body.HostConfig.Resources)
		for _, m := range r.Body.HostConfig.Mounts {
			note("mount", m)
		}
	}
	walk(reflect.TypeFor[engine.Create](), "", func(path string) {
		for _, api := range []string{"1.41", "1.51"} {
			c := base()
			fill(field(reflect.ValueOf(&c).Elem(), path))
			collect(settle(c, path), Facts{API: api})
		}
	})
	image := base()
	image.Mounts = []engine.Mount{{Type: "image", Source: "x", Target: "/x", Spec: manifests.Mount{Subpath: "y"}}}
	collect(image, newest)
	bridge := base()
	bridge.NetworkMode, bridge.Networks, bridge.Spec.ExternalLinks = "bridge", nil, []string{"a:b"}
	collect(bridge, newest)
	for kind, known := range map[string][]string{"config": configFields, "host": hostFields, "resources": resourceFields, "mount": mountFields} {
		var got []string
		for name := range set[kind] {
			got = append(got, name)
		}
		slices.Sort(got)
		if diff := cmp.Diff(known, got); diff != "" {
			t.Errorf("%s: listed in deny.go (-), set by Payload (+):\n%s", kind, diff)
		}
	}
}

func TestDenyRefusesWhatHasNoRule(t *testing.T) {
	for name, spoil := range map[string]func(*Request){
		"AutoRemove":  func(r *Request) { r.Body.HostConfig.AutoRemove = true },
		"MaskedPaths": func(r *Request) { r.Body.HostConfig.MaskedPaths = []string{} },
		"VolumesFrom": func(r *Request) { r.Body.HostConfig.VolumesFrom = []string{"x"} },
		"IOMaximum":   func(r *Request) { r.Body.HostConfig.IOMaximumIOps = 1 },
		"Shell":       func(r *Request) { r.Body.Shell = []string{"sh"} },
	} {
		t.Run(name, func(t *testing.T) {
			r := mustPayload(t, base(), newest)
			if err := deny(&r); err != nil {
				t.Fatalf("plain payload: %v", err)
			}
			spoil(&r)
			if err := deny(&r); !errors.Is(err, engine.ErrPolicy) || !strings.Contains(err.Error(), name) {
				t.Errorf("error is %v, not a denial that names %s", err, name)
			}
		})
	}
}

// TestPayloadRefusesWhatTheEngineCannot has a row for each field that came
// after API 1.41.
func TestPayloadRefusesWhatTheEngineCannot(t *testing.T) {
	bind := func(s manifests.Mount) func(*engine.Create) {
		return func(c *engine.Create) {
			c.Mounts = []engine.Mount{{Type: "bind", Source: "/a", Target: "/b", ReadOnly: true, Spec: s}}
		}
	}
	endpoint := func(f func(*engine.Endpoint)) func(*engine.Create) {
		return func(c *engine.Create) { f(&c.Networks[0]) }
	}
	for name, row := range map[string]struct {
		since  string
		mutate func(*engine.Create)
	}{
		"healthcheck.start_interval": {"1.44", func(c *engine.Create) { c.Spec.Healthcheck = &manifests.Healthcheck{StartInterval: 1} }},
		"annotations":                {"1.43", func(c *engine.Create) { c.Spec.Annotations = map[string]string{"a": "b"} }},
		"bind.recursive: readonly":   {"1.44", bind(manifests.Mount{Recursive: "readonly"})},
		"gw_priority":                {"1.48", endpoint(func(e *engine.Endpoint) { e.GwPriority = 1 })},
		"interface_name":             {"1.48", endpoint(func(e *engine.Endpoint) { e.Interface = "lan" })},
		"mac_address": {"1.44", func(c *engine.Create) {
			c.Networks = append(c.Networks, engine.Endpoint{Network: "b", MAC: "02:00:00:00:00:01"})
		}},
		"volume.subpath": {"1.45", func(c *engine.Create) {
			c.Mounts = []engine.Mount{{Type: "volume", Source: "v", Target: "/b", Spec: manifests.Mount{Subpath: "x"}}}
		}},
		"image mount": {"1.48", func(c *engine.Create) { c.Mounts = []engine.Mount{{Type: "image", Source: "i", Target: "/b"}} }},
	} {
		t.Run(name, func(t *testing.T) {
			c := base()
			row.mutate(&c)
			if _, err := Payload(c, Facts{API: row.since}); err != nil {
				t.Errorf("API %s: %v", row.since, err)
			}
			_, err := Payload(c, Facts{API: "1.41"})
			if !errors.Is(err, engine.ErrUnsupported) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), row.since) {
				t.Errorf("API 1.41: error is %v, not one that names %q and %s", err, name, row.since)
			}
		})
	}
}

func TestPayloadOnOldEngines(t *testing.T) {
	c := base()
	c.Networks = []engine.Endpoint{
		{Network: "back", Address: netip.MustParseAddr("10.0.1.9")},
		{Network: "shop", Address: netip.MustParseAddr("10.0.0.9"), MAC: "02:00:00:00:00:01"},
	}
	c.Mounts = []engine.Mount{{Type: "bind", Source: "/srv/data", Target: "/data", Spec: manifests.Mount{Create: true}}}
	old := mustPayload(t, c, Facts{API: "1.41"})
	if diff := cmp.Diff([]string{"/srv/data:/data"}, old.Body.HostConfig.Binds); diff != "" {
		t.Errorf("binds: %s", diff)
	}
	if n := old.Body.NetworkingConfig.EndpointsConfig; len(n) != 1 || n["shop"].IPAMConfig.IPv4Address != "10.0.0.9" {
		t.Errorf("networks at creation: %v", encode(t, old))
	}
	if len(old.Connect) != 1 || old.Connect[0].Network != "back" || old.Connect[0].Endpoint.IPAMConfig.IPv4Address != "10.0.1.9" {
		t.Errorf("networks after creation: %v", encode(t, old))
	}
	if got := old.Body.MacAddress; got != "02:00:00:00:00:01" { //nolint:staticcheck // the form of old engines
		t.Errorf("MAC address of the container: %q", got)
	}
	current := mustPayload(t, c, newest)
	if len(current.Body.NetworkingConfig.EndpointsConfig) != 2 || len(current.Connect) != 0 || len(current.Body.HostConfig.Mounts) != 1 {
		t.Errorf("current payload: %s", encode(t, current))
	}
}

func TestPayloadValues(t *testing.T) {
	c := base()
	c.Spec.Environment = map[string]string{"B": "2", "A": "1"}
	c.Env = map[string]string{"REMORA_HOST": "h", "B": "3"}
	c.Spec.StopGrace = new(1500 * time.Millisecond)
	c.Spec.Command, c.Spec.Entrypoint = new([]string{}), nil
	c.Spec.CapAdd = []string{"net_admin", "CAP_CHOWN", "NET_ADMIN"}
	c.Spec.Tmpfs = []string{"/tmp", "/run:size=1m,mode=755"}
	c.Spec.Published = []manifests.Port{{Published: 53, Target: 53, Protocol: "udp"}, {HostIP: "127.0.0.1", Target: 80, Protocol: "tcp"}}
	r := mustPayload(t, c, newest)
	b := r.Body
	for what, got := range map[string][2]any{
		"env":          {[]string{"A=1", "B=3", "REMORA_HOST=h"}, b.Env},
		"stop timeout": {2, *b.StopTimeout},
		"cap_add":      {[]string{"CAP_CHOWN", "CAP_NET_ADMIN"}, []string(b.HostConfig.CapAdd)},
		"tmpfs":        {map[string]string{"/tmp": "", "/run": "size=1m,mode=755"}, b.HostConfig.Tmpfs},
		"log":          {container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "20m", "max-file": "5"}}, b.HostConfig.LogConfig},
		"udp":          {"53", b.HostConfig.PortBindings["53/udp"][0].HostPort},
		"free port":    {"", b.HostConfig.PortBindings["80/tcp"][0].HostPort},
		"command":      {true, b.Cmd != nil && b.Entrypoint == nil},
	} {
		if diff := cmp.Diff(got[0], got[1]); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
}

func TestPayloadLogLimits(t *testing.T) {
	for name, row := range map[string]struct {
		log   *manifests.Log
		facts Facts
		want  string
	}{
		"nobody says":       {nil, Facts{LogDriver: "json-file"}, "json-file max-size=20m"},
		"the engine limits": {nil, Facts{LogDriver: "json-file", LogOptions: true}, " "},
		"another driver":    {nil, Facts{LogDriver: "journald"}, " "},
		"the file's driver": {&manifests.Log{Driver: "none"}, Facts{LogDriver: "json-file"}, "none "},
		"the file's option": {&manifests.Log{Options: map[string]string{"max-size": "1m"}}, Facts{LogDriver: "json-file"}, " max-size=1m"},
	} {
		t.Run(name, func(t *testing.T) {
			c := base()
			c.Spec.Log = row.log
			row.facts.API = "1.51"
			l := mustPayload(t, c, row.facts).Body.HostConfig.LogConfig
			got := l.Type + " "
			if size := l.Config["max-size"]; size != "" {
				got += "max-size=" + size
			}
			if got != row.want {
				t.Errorf("log is %q, not %q", got, row.want)
			}
		})
	}
}

func TestPayloadErrors(t *testing.T) {
	for name, row := range map[string]struct {
		mutate func(*engine.Create)
		want   string
	}{
		"network on host": {func(c *engine.Create) { c.NetworkMode = "host" }, "network_mode host cannot be combined with network shop"},
		"unknown network": {func(c *engine.Create) { c.NetworkMode = "other" }, "network_mode other is none of the container's networks"},
		"unresolved pid":  {func(c *engine.Create) { c.Spec.PID = "service:db" }, "pid: service:db is not resolved"},
		"unknown mount":   {func(c *engine.Create) { c.Mounts = []engine.Mount{{Type: "npipe", Target: "/x"}} }, `mount /x: type "npipe"`},
		"unknown recursion": {func(c *engine.Create) {
			c.Mounts = []engine.Mount{{Type: "bind", Target: "/x", Spec: manifests.Mount{Recursive: "some"}}}
		}, "bind.recursive: some"},
		"colon in SELinux": {func(c *engine.Create) {
			c.Mounts = []engine.Mount{{Type: "bind", Source: "/a:b", Target: "/x", Spec: manifests.Mount{SELinux: "z"}}}
		}, "colon"},
	} {
		t.Run(name, func(t *testing.T) {
			c := base()
			row.mutate(&c)
			if _, err := Payload(c, newest); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("error is %v, not %q", err, row.want)
			}
		})
	}
}
