package policy

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/manifests"
)

// Scope is what belongs to remora or to the app, so that using it needs no
// permission.
type Scope struct {
	// Folders are remora's own folders that containers may mount from, such as
	// blobs and data, and a local source's folder.
	Folders []string
	// Project is the app's project; its own networks and volumes are called
	// after it and their key.
	Project string
	// Networks and Volumes are further names that may be used.
	Networks, Volumes []string
	// Containers are IDs of containers of the same unit, whose namespaces may
	// be joined.
	Containers []string
}

// payloadFields has a row for every field of [engine.Create]; false is decided
// by remora alone and needs no rule.
func payloadFields() map[string]bool {
	return map[string]bool{
		"Name": false, "Spec": true, "Image": false, "Labels": false, "Env": false, "Mounts": true,
		"Networks": true, "NetworkMode": true, "PID": true, "IPC": true, "ExtraHosts": false, "DNS": false,
		"OOMScoreAdj": true, "Restart": false,
	}
}

// Judge judges the final create payload of a container.
func Judge(p manifests.Policy, c engine.Create, scope Scope) []Violation {
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
	j.payloadMounts(c, scope)
	j.payloadNetworks(c, scope)
	j.payloadNamespaces(c, scope)
	if c.OOMScoreAdj != nil && *c.OOMScoreAdj < 0 && !j.flag(j.OOM) {
		j.deny("oom_score_adj", fmt.Sprint(*c.OOMScoreAdj), "oom: true", "a negative score is not allowed")
	}
	return j.found
}

func (j *judge) payloadMounts(c engine.Create, scope Scope) {
	for i, m := range c.Mounts {
		field := fmt.Sprintf("volumes[%d]", i)
		switch m.Type {
		case "bind":
			if !inScope(scope.Folders, m.Source) {
				j.bind(field, m.Source)
			}
		case "volume":
			named := m.Spec.Kind == manifests.MountVolume
			if named && m.Source != scope.Project+"_"+m.Spec.Source && !has(scope.Volumes, m.Source) {
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

func (j *judge) payloadNetworks(c engine.Create, scope Scope) {
	own := map[string]bool{}
	for _, a := range c.Spec.Networks {
		own[scope.Project+"_"+a.Network] = true
	}
	for _, n := range c.Networks {
		if !own[n.Network] && !has(scope.Networks, n.Network) {
			j.foreign("networks", "network", n.Network)
		}
	}
}

// payloadNamespaces judges the namespaces as they were resolved: only the
// unit's own containers may be joined without permission.
func (j *judge) payloadNamespaces(c engine.Create, scope Scope) {
	modes := map[string]string{"network_mode": c.NetworkMode, "pid": c.PID, "ipc": c.IPC}
	for _, field := range []string{"network_mode", "pid", "ipc"} {
		mode := modes[field]
		id, joins := strings.CutPrefix(mode, "container:")
		kind := strings.TrimSuffix(field, "_mode")
		switch {
		case joins && !has(scope.Containers, id):
			j.foreign(field, "container", id)
		case mode == "host" && j.specMode(c, field) != "host":
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

func inScope(folders []string, source string) bool {
	for _, f := range folders {
		if f != "" && below(f, source) {
			return true
		}
	}
	return false
}

func has(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}
