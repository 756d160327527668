package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"reflect"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v4"

	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/manifests/hostfile"
)

// defaultConfig is where the host file is looked for.
const defaultConfig = "/etc/remora/host.yaml"

// hostConfig reads the host file with what stands over it.
type hostConfig struct {
	path  string
	flags *pflag.FlagSet
	paths map[string]string // setting by flag
}

// hostFlags adds a flag for every setting of the host file that is a plain
// value: policy.preset is --policy-preset.
func hostFlags(c *cobra.Command) *hostConfig {
	h := &hostConfig{flags: c.Flags(), paths: map[string]string{}}
	h.flags.StringVar(&h.path, "config", orElse(os.Getenv("REMORA_CONFIG"), defaultConfig), "the host file; also $REMORA_CONFIG")
	for _, path := range hostfile.Settings() {
		name := strings.NewReplacer(".", "-", "_", "-").Replace(path)
		if path == "version" || h.flags.Lookup(name) != nil {
			continue
		}
		h.paths[name] = path
		variable := "REMORA_" + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
		h.flags.String(name, "", path+" of the host file; also $"+variable)
	}
	return h
}

// read returns the effective host file.
func (h *hostConfig) read() (manifests.Host, error) {
	data, err := os.ReadFile(h.path)
	if errors.Is(err, fs.ErrNotExist) {
		return manifests.Host{}, fmt.Errorf("no host file at %s; write one, for example:\n%s\nor see your own compose file run without any: remora try DIR", h.path, exampleHost)
	}
	if err != nil {
		return manifests.Host{}, fmt.Errorf("read the host file: %w", err)
	}
	set := map[string]string{}
	h.flags.Visit(func(f *pflag.Flag) {
		if path, ok := h.paths[f.Name]; ok {
			set[path] = f.Value.String()
		}
	})
	host, diags := hostfile.Parse(h.path, data, os.Environ(), set)
	if errs := diags.Errors(); len(errs) > 0 {
		return host, fmt.Errorf("the host file has %d %s:\n%w", len(errs), plural(len(errs), "error"), errs)
	}
	return fromMachine(host)
}

// fromMachine fills in what the machine says where the file says nothing.
func fromMachine(host manifests.Host) (manifests.Host, error) {
	if host.Name == "" {
		name, err := os.Hostname()
		if err != nil {
			return host, fmt.Errorf("find the host's name: %w; set `name:` in the host file", err)
		}
		host.Name = name
	}
	if host.Engine == "" {
		host.Engine = orElse(os.Getenv("DOCKER_HOST"), "unix:///var/run/docker.sock")
	}
	return host, nil
}

const exampleHost = `
  version: 1
  sources:
    - name: main
      url: https://git.example.com/infra.git
      environments: [production]
`

// printHost writes the effective host file without its secrets: values of
// variables and passwords in addresses.
func printHost(w io.Writer, host manifests.Host) error {
	vars := map[string]string{}
	for name := range host.Vars {
		vars[name] = manifests.NewSecret("").String()
	}
	host.Vars = vars
	host.Sources = append([]manifests.Source(nil), host.Sources...)
	for i := range host.Sources {
		host.Sources[i].URL = withoutPassword(host.Sources[i].URL)
	}
	var doc yaml.Node
	if err := doc.Encode(host); err != nil {
		return fmt.Errorf("print the host file: %w", err)
	}
	prune(&doc)
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(&doc); err != nil {
		return fmt.Errorf("print the host file: %w", err)
	}
	return e.Close()
}

func withoutPassword(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.User == nil {
		return address
	}
	if _, has := u.User.Password(); !has {
		return address
	}
	u.User = url.User(u.User.Username())
	return strings.Replace(u.String(), "@", ":***@", 1)
}

// prune leaves out what is not set.
func prune(n *yaml.Node) {
	if n.Kind == yaml.MappingNode {
		var kept []*yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			prune(n.Content[i+1])
			if !unset(n.Content[i+1]) {
				kept = append(kept, n.Content[i], n.Content[i+1])
			}
		}
		n.Content = kept
		return
	}
	for _, child := range n.Content {
		prune(child)
	}
}

func unset(n *yaml.Node) bool {
	if n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode {
		return len(n.Content) == 0
	}
	return n.Tag == "!!null" || n.Value == "" || n.Value == "0s"
}

// reloaded returns what of a changed host file an agent takes while it runs,
// and the names of the changed settings that it keeps until it is restarted.
func reloaded(now, next manifests.Host) (_ manifests.Host, kept []string) {
	for _, fixed := range []struct {
		name      string
		now, next any
	}{
		{"name", now.Name, next.Name},
		{"state", now.State, next.State},
		{"run", now.Run, next.Run},
		{"engine", now.Engine, next.Engine},
		{"network_pool", now.NetworkPool, next.NetworkPool},
		{"api", now.API, next.API},
		{"ambassador", now.Ambassador, next.Ambassador},
		{"log.format", now.Log.Format, next.Log.Format},
	} {
		if !reflect.DeepEqual(fixed.now, fixed.next) {
			kept = append(kept, fixed.name)
		}
	}
	next.Name, next.State, next.Run, next.Engine = now.Name, now.State, now.Run, now.Engine
	next.NetworkPool, next.API, next.Ambassador, next.Log.Format = now.NetworkPool, now.API, now.Ambassador, now.Log.Format
	return next, kept
}

// newLogger logs as the host file says; the level may be changed later.
func newLogger(w io.Writer, l manifests.HostLog, level *slog.LevelVar) *slog.Logger {
	level.Set(logLevel(l.Level))
	opts := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

func logLevel(name string) slog.Level {
	var l slog.Level
	if l.UnmarshalText([]byte(name)) != nil {
		return slog.LevelInfo
	}
	return l
}
