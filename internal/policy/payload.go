package policy

import (
	"fmt"
	"path"
	"reflect"
	"strings"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
)

// payloadFields has a row for every field of [engine.Create]; false is decided
// by remora alone and needs no rule.
func payloadFields() map[string]bool {
	return map[string]bool{
		"Name": false, "Spec": true, "Image": false, "Labels": false, "Env": false, "Mounts": true,
		"Networks": true, "NetworkMode": true, "PID": true, "IPC": true, "ExtraHosts": false, "DNS": false,
		"OOMScoreAdj": true, "Restart": false,
	}
}

// Judge judges the final create payload of a container. own are remora's own
// folders that containers may mount from without permission: blobs, data, live
// content and a local source's folder. What the project calls its own follows
// from the payload's label of the project. Links in the sources of binds are
// followed on this machine; nothing else is looked at.
func Judge(p manifests.Policy, c engine.Create, own ...string) []Violation {
	j := judge{rules: effective(p)}
	v := reflect.ValueOf(c)
	table := payloadFields()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if _, known := table[name]; !known && !v.Field(i).IsZero() {
			j.deny(name, "", "", "the field has no rule")
		}
	}
	spec := c.Spec
	// The payload's own mounts are judged in their place.
	spec.Mounts = nil
	j.container(&spec)
	j.payloadMounts(c, own)
	j.payloadNetworks(c)
	j.payloadNamespaces(c)
	if c.OOMScoreAdj != nil && *c.OOMScoreAdj < 0 && !j.flag(j.OOM) {
		j.deny("oom_score_adj", fmt.Sprint(*c.OOMScoreAdj), "oom: true", "a negative score is not allowed")
	}
	return j.found
}

func (j *judge) payloadMounts(c engine.Create, own []string) {
	for i, m := range c.Mounts {
		field := fmt.Sprintf("volumes[%d]", i)
		switch m.Type {
		case "bind":
			j.payloadBind(field, m.Source, own)
		case "volume":
			named := m.Spec.Kind == manifests.MountVolume
			if named && m.Source != project(c)+"_"+m.Spec.Source {
				j.foreign(field, "volume", m.Source)
			}
		case "tmpfs":
		case "image":
			j.image(m.Source)
		default:
			j.deny(field, m.Type, "", "mounts of type %q have no rule", m.Type)
		}
	}
}

// payloadBind judges the source of a bind as it is written, and where it leads:
// the engine follows links, and a container may have put one into a folder that
// it may write.
func (j *judge) payloadBind(field, source string, own []string) {
	before := len(j.found)
	if !inFolders(own, source) {
		j.bind(field, source)
	}
	real := follow(source)
	if len(j.found) > before || real == path.Clean(source) || inFolders(followAll(own), real) {
		return
	}
	there := judge{rules: j.rules, prefix: j.prefix}
	there.Binds = append(followAll(j.Binds), j.Binds...)
	there.bind(field, real)
	for _, v := range there.found {
		v.Message = fmt.Sprintf("%s leads to %s: %s", source, real, v.Message)
		j.found = append(j.found, v)
	}
}

func (j *judge) payloadNetworks(c engine.Create) {
	own := map[string]bool{}
	for _, a := range c.Spec.Networks {
		own[project(c)+"_"+a.Network] = true
	}
	for _, n := range c.Networks {
		if !own[n.Network] {
			j.foreign("networks", "network", n.Network)
		}
	}
}

func project(c engine.Create) string { return c.Labels[engine.LabelComposeProject] }

// payloadNamespaces judges the namespaces as they were resolved: without
// permission only containers of services of the app may be joined.
func (j *judge) payloadNamespaces(c engine.Create) {
	modes := map[string]string{"network_mode": c.NetworkMode, "pid": c.PID, "ipc": c.IPC}
	for _, field := range []string{"network_mode", "pid", "ipc"} {
		mode := modes[field]
		id, joins := strings.CutPrefix(mode, "container:")
		kind := strings.TrimSuffix(field, "_mode")
		spec := j.specMode(c, field)
		switch {
		case joins && spec != mode && !strings.HasPrefix(spec, "service:"):
			j.foreign(field, "container", id)
		case mode == "host" && spec != "host":
			j.namespace(field, kind, mode)
		}
	}
}

// specMode returns the mode that was judged with the manifest's container.
func (j *judge) specMode(c engine.Create, field string) string {
	switch field {
	case "network_mode":
		return c.Spec.NetworkMode
	case "pid":
		return c.Spec.PID
	}
	return c.Spec.IPC
}

func inFolders(folders []string, source string) bool {
	for _, f := range folders {
		if f != "" && below(f, path.Clean(source)) {
			return true
		}
	}
	return false
}
