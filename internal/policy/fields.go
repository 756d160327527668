package policy

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/remorahq/remora/manifests"
)

// rule judges one field of a container; nil lets every value pass.
type rule func(*judge, *manifests.Container)

// containerRules has a row for every field of [manifests.Container]. A field
// without a row is denied.
func containerRules() map[string]rule {
	return map[string]rule{
		"Image": image, "Platform": nil, "Command": nil, "Entrypoint": nil, "Environment": nil,
		"Labels": labels, "Annotations": annotations, "Name": nil, "User": nil, "WorkingDir": nil,
		"Hostname": nil, "Domainname": nil, "StopSignal": nil, "StopGrace": nil, "Init": nil,
		"TTY": nil, "StdinOpen": nil, "ReadOnly": nil, "Privileged": privileged, "Healthcheck": nil,
		"Restart": nil, "CapAdd": capabilities, "CapDrop": nil, "SecurityOpt": securityOpt,
		"Devices": devices, "DeviceCgroupRules": deviceRules, "DeviceRequests": deviceRequests,
		"GroupAdd": nil, "Sysctls": sysctls, "Ulimits": nil, "Runtime": runtime, "Isolation": nil,
		"StorageOpt": nil, "CgroupParent": cgroupParent, "CgroupNS": cgroupNS, "IPC": ipc, "PID": pid,
		"UTS": uts, "UserNS": userNS, "ShmSize": nil, "Tmpfs": nil, "Log": logDriver,
		"Resources": oom, "NetworkMode": networkMode, "Networks": attachments, "DNS": nil, "DNSOpt": nil,
		"DNSSearch": nil, "ExtraHosts": nil, "Links": nil, "ExternalLinks": externalLinks,
		"VolumesFrom": volumesFrom, "Mounts": mounts, "PostStart": postStart, "PreStop": preStop,
		"Published": published,
	}
}

// container judges every field that is set.
func (j *judge) container(c *manifests.Container) {
	table := containerRules()
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			continue
		}
		name := v.Type().Field(i).Name
		check, known := table[name]
		switch {
		case !known:
			j.deny(jsonName(v.Type().Field(i)), fmt.Sprint(v.Field(i)), "", "the field has no rule")
		case check != nil:
			check(j, c)
		}
	}
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "" {
		return f.Name
	}
	return name
}

// mergeStruct copies the fields of over that are set into base.
func mergeStruct(base, over *manifests.Policy) {
	from, to := reflect.ValueOf(over).Elem(), reflect.ValueOf(base).Elem()
	for i := range from.NumField() {
		if !from.Field(i).IsZero() {
			to.Field(i).Set(from.Field(i))
		}
	}
}
