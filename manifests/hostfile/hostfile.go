// Package hostfile reads the host file, the law of one host, and the
// variables and flags that stand over it. It is strict: what it does not know
// is an error that names file, line and column.
//
// It touches neither disk nor environment; callers hand both in. All functions
// may be called from any goroutine.
package hostfile

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/internal/yamlfile"
	"github.com/remorahq/remora/manifests"
)

// Version is the only version of the host file that is read.
const Version = 1

// Parse reads a host file over [manifests.DefaultHost], then the REMORA_
// variables of env ("NAME=value"), then flags, keyed by the dotted path of the
// setting such as "ambassador.mode". An empty data is an empty file.
//
// A variable's name is the setting's path in upper case with underscores:
// REMORA_POLICY_PRESET sets policy.preset. Lists are comma-separated, maps are
// key=value pairs. Sources cannot be set by a variable. Variables with another
// name are left to others.
func Parse(file string, data []byte, env []string, flags map[string]string) (manifests.Host, manifests.Diagnostics) {
	host := manifests.DefaultHost()
	positions, diags := yamlfile.Decode(file, data, &host)
	if len(diags) > 0 {
		return host, diags
	}
	p := parser{file: file, positions: positions}
	if len(data) > 0 && positions["version"].Line == 0 && len(positions) > 0 {
		p.fail("version", "missing", "write `version: 1`")
	}
	p.variables(&host, env)
	p.flags(&host, flags)
	p.refuse(&host)
	p.check(&host)
	complete(&host)
	return host, p.diags
}

type parser struct {
	file      string
	positions yamlfile.Positions
	diags     manifests.Diagnostics
}

func (p *parser) at(field string) manifests.Position {
	if pos, ok := p.positions[field]; ok {
		return pos
	}
	return manifests.Position{File: p.file}
}

func (p *parser) fail(field, message, remedy string) {
	p.diags = append(p.diags, manifests.Diagnostic{
		Position: p.at(field), Reason: status.LoadFailed, Field: field, Message: message, Remedy: remedy,
	})
}

func (p *parser) variables(host *manifests.Host, env []string) {
	known := settings(reflect.TypeOf(*host), "")
	for _, line := range slices.Sorted(slices.Values(env)) {
		name, value, ok := strings.Cut(line, "=")
		if !ok || !strings.HasPrefix(name, "REMORA_") {
			continue
		}
		for _, path := range known {
			if name != variable(path) {
				continue
			}
			if err := set(reflect.ValueOf(host).Elem(), path, value); err != nil {
				p.diags = append(p.diags, manifests.Diagnostic{
					Position: manifests.Position{File: "environment"}, Reason: status.LoadFailed,
					Field: name, Value: value, Message: err.Error(),
				})
			}
		}
	}
}

func (p *parser) flags(host *manifests.Host, flags map[string]string) {
	for _, path := range slices.Sorted(maps.Keys(flags)) {
		if err := set(reflect.ValueOf(host).Elem(), path, flags[path]); err != nil {
			p.diags = append(p.diags, manifests.Diagnostic{
				Position: manifests.Position{File: "flags"}, Reason: status.LoadFailed,
				Field: path, Value: flags[path], Message: err.Error(),
			})
		}
	}
}

// refuse reports the settings that this version knows and does not carry out.
func (p *parser) refuse(host *manifests.Host) {
	later := func(field string, set bool) {
		if !set {
			return
		}
		p.later(field, "not in this version", "remove the section")
	}
	later("secrets", len(host.Secrets) > 0)
	later("overlap", len(host.Overlap) > 0)
	later("consul", len(host.Consul) > 0)
	later("notify", host.Notify != nil)
	later("audit", len(host.Audit) > 0)
	later("api.listen", host.API.Listen != "")
	later("api.tls", len(host.API.TLS) > 0)
	later("api.tokens", host.API.Tokens != nil)
	for i, s := range host.Sources {
		later(fmt.Sprintf("sources[%d].verify", i), len(s.Verify) > 0)
	}
}

func (p *parser) later(field, message, remedy string) {
	p.diags = append(p.diags, manifests.Diagnostic{
		Position: p.at(field), Reason: status.NotInThisVersion, Field: field, Message: message, Remedy: remedy,
	})
}

func (p *parser) check(host *manifests.Host) {
	if host.Version != Version {
		p.fail("version", fmt.Sprintf("version %d is not known", host.Version), "this remora reads version 1")
	}
	p.oneOf("policy.preset", host.Policy.Preset, "strict", "compose")
	p.oneOf("ambassador.mode", host.Ambassador.Mode, "", "spawn", "external")
	p.oneOf("ambassador.names", host.Ambassador.Names, "", "proxied", "direct")
	p.oneOf("log.format", host.Log.Format, "text", "json")
	p.oneOf("log.level", host.Log.Level, "debug", "info", "warn", "error")
	if host.Standby != nil {
		p.oneOf("standby.state", string(host.Standby.State), "", "paused", "stopped", "running")
	}
	if prefix, err := netip.ParsePrefix(host.NetworkPool); err != nil || prefix.Bits() > 24 {
		p.fail("network_pool", fmt.Sprintf("%q is no prefix of 24 bits or fewer", host.NetworkPool), "such as 10.210.0.0/16")
	}
	if _, err := host.Ambassador.Trusted(); err != nil {
		p.fail("ambassador.trusted_proxies", err.Error(), "such as 10.0.0.0/8 or 192.0.2.7")
	}
	if _, err := host.Ambassador.ProxyFrom(); err != nil {
		p.fail("ambassador.proxy_protocol_from", err.Error(), "such as 10.0.0.0/8 or 192.0.2.7")
	}
	p.limits(&host.Ambassador.Limits)
	p.accessLog(&host.Ambassador.AccessLog)
	p.entryPoints(&host.Ambassador)
	p.acme(&host.Ambassador.ACME)
	if host.Poll < 0 || host.StopRespect < 0 {
		p.fail("poll", "a duration is negative", "")
	}
	names, followed := map[string]bool{}, map[string]string{}
	for i := range host.Sources {
		at := fmt.Sprintf("sources[%d]", i)
		p.source(at, &host.Sources[i], names)
		p.follows(at, &host.Sources[i], followed)
	}
}

// limits reports limits that would let no client in.
func (p *parser) limits(l *manifests.HostLimits) {
	for _, d := range []struct {
		field string
		value manifests.Duration
	}{{"header", l.Header}, {"idle", l.Idle}} {
		if d.value != 0 && time.Duration(d.value) < time.Second {
			p.fail("ambassador.limits."+d.field, fmt.Sprintf("%s is less than a second", time.Duration(d.value)), "such as 10s; leave it out for the default")
		}
	}
	if l.BodyRate < 0 {
		p.fail("ambassador.limits.body_rate", fmt.Sprintf("%d is negative", l.BodyRate), "bytes a second, such as 240")
	}
	if l.PerClient < 0 {
		p.fail("ambassador.limits.per_client", fmt.Sprintf("%d is negative", l.PerClient), "connections, such as 200; 0 is no limit")
	}
}

// smallestLog is the least size of an access log's file: below it, files would
// be renamed all the time.
const smallestLog = 64 << 10

func (p *parser) accessLog(l *manifests.HostAccessLog) {
	p.oneOf("ambassador.access_log.format", l.Format, "", "json", "combined", "off")
	if l.MaxSize != 0 && l.MaxSize < smallestLog {
		p.fail("ambassador.access_log.max_size", fmt.Sprintf("%d bytes are too few", l.MaxSize), "64KiB or more, such as 64MiB")
	}
	if l.Keep < 0 {
		p.fail("ambassador.access_log.keep", fmt.Sprintf("%d is negative", l.Keep), "files, such as 4")
	}
}

// follows reports an environment that another source has, too. An app is known
// by its environment and its folder: who may write one of the two repositories
// could take over the other's apps, with their ports, volumes and policy.
func (p *parser) follows(at string, s *manifests.Source, followed map[string]string) {
	for n, env := range s.Environments {
		if other, taken := followed[env]; taken && other != s.Name {
			p.fail(fmt.Sprintf("%s.environments[%d]", at, n),
				fmt.Sprintf("environment %q is followed from source %s already", env, other),
				"give the environment's folder another name in one of the two repositories")
			continue
		}
		followed[env] = s.Name
	}
}

func (p *parser) source(at string, s *manifests.Source, names map[string]bool) {
	switch {
	case s.Name == "":
		p.fail(at, "a source has no name", "write `name:`")
	case names[s.Name]:
		p.fail(at+".name", fmt.Sprintf("the name %q is used twice", s.Name), "")
	}
	names[s.Name] = true
	if (s.URL == "") == (s.Folder == "") {
		p.fail(at, "a source has either `url` or `folder`", "write one of the two")
	}
	if len(s.Environments) == 0 && s.Folder == "" {
		p.fail(at, "no environment to follow", "write `environments: [production]`")
	}
	if s.Policy != nil {
		p.oneOf(at+".policy.preset", s.Policy.Preset, "", "strict", "compose")
	}
	if s.Auth.PasswordFile != "" && s.Auth.TokenFile != "" {
		p.fail(at+".auth", "password_file and token_file exclude each other", "")
	}
}

func (p *parser) oneOf(field, value string, allowed ...string) {
	if slices.Contains(allowed, value) {
		return
	}
	shown := slices.DeleteFunc(slices.Clone(allowed), func(s string) bool { return s == "" })
	p.fail(field, fmt.Sprintf("%q is not known", value), "one of: "+strings.Join(shown, ", "))
}

// complete fills in what follows from other settings.
func complete(host *manifests.Host) {
	for i := range host.Sources {
		s := &host.Sources[i]
		if s.Path == "" {
			s.Path = "environments"
		}
		if s.Timeout == 0 {
			s.Timeout = manifests.DefaultGitTimeout
		}
	}
	if host.API.Socket == "" {
		host.API.Socket = host.Run + "/agent.sock"
	}
}
