package load

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"maps"
	"slices"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/remorahq/remora/internal/loader/input"
	"github.com/remorahq/remora/internal/policy"
	"github.com/remorahq/remora/manifests"
)

// environment resolves env_file and environment; the latter wins, later files
// win over former ones. What comes from the host's files is kept apart.
func (c *converter) environment(at string, s types.ServiceConfig, out *manifests.Service) {
	own := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(s.Environment)) {
		switch v := s.Environment[name]; {
		case v != nil:
			own[name] = *v
		case has(c.vars, name):
			own[name] = c.vars[name]
		default:
			c.unsetVariable(c.place(at+".environment."+name), at+".environment."+name, unsetRef{name: name})
		}
	}
	env, host := map[string]string{}, map[string]string{}
	for _, f := range s.EnvFiles {
		c.envFileOf(at+".env_file", f, own, env, host, out)
	}
	for name, v := range own {
		env[name] = v
		delete(host, name)
	}
	c.checkEncrypted(at+".environment", env)
	if len(env) > 0 {
		out.Container.Environment = env
	}
	if len(host) > 0 {
		out.HostEnv = host
	}
}

func (c *converter) envFileOf(field string, f types.EnvFile, own, env, host map[string]string, out *manifests.Service) {
	if f.Format != "" {
		c.later(field+".format", "write the file in the usual format")
		return
	}
	lookup := func(name string) (string, bool) {
		for _, m := range []map[string]string{c.vars, own, env, host} {
			if v, ok := m[name]; ok {
				return v, true
			}
		}
		return "", false
	}
	if _, inside := c.repo.rel(f.Path); !inside {
		c.hostEnvFile(field, f, lookup, env, host, out)
		return
	}
	if _, exists, _ := c.repo.resolve(f.Path); !exists && !bool(f.Required) {
		_, _ = c.read(f.Path) // notes that it is absent
		return
	}
	vars, ok := c.readPairs(field, f.Path, lookup)
	if !ok {
		return
	}
	for k, v := range vars {
		env[k] = v
		delete(host, k)
	}
	c.keepFile(field, f.Path, out)
}

// hostEnvFile reads an env file of the host, where its policy allows.
func (c *converter) hostEnvFile(field string, f types.EnvFile, lookup dotenv.LookupFn, env, host map[string]string, out *manifests.Service) {
	if !policy.EnvFile(c.req.Policy, f.Path) {
		c.hostEnvAllowed(c.place(field), field, f.Path)
		return
	}
	data, err := readBounded(f.Path)
	if errors.Is(err, fs.ErrNotExist) && !bool(f.Required) {
		c.note(manifests.Input{Path: f.Path, Kind: manifests.InputAbsent})
		return
	}
	if err != nil {
		c.fail(field, "", "env file %q of the host %s", f.Path, why(err))
		return
	}
	sum := sha256.Sum256(data)
	id := hex.EncodeToString(sum[:])
	c.note(manifests.Input{Path: f.Path, Kind: manifests.InputFile, ID: input.File(f.Path, data)})
	vars, err := dotenv.UnmarshalBytesWithLookup(data, lookup)
	if err != nil {
		// The parser's message would quote the file, which may hold secrets.
		c.fail(field, "write NAME=value lines", "env file %q of the host cannot be parsed", f.Path)
		return
	}
	if out.HostInputs == nil {
		out.HostInputs = map[string]string{}
	}
	out.HostInputs[f.Path] = id
	for k, v := range vars {
		host[k] = v
		delete(env, k)
	}
}

// readPairs reads NAME=value lines of a file of the repository.
func (c *converter) readPairs(field, path string, lookup dotenv.LookupFn) (map[string]string, bool) {
	data, err := c.read(path)
	if err != nil {
		c.fail(field, "", "file %q %s", c.shown(path), why(err))
		return nil, false
	}
	vars, err := dotenv.UnmarshalBytesWithLookup(data, lookup)
	if err != nil {
		c.fail(field, "", "read %q: %v", c.shown(path), err)
		return nil, false
	}
	return vars, true
}

// keepFile makes a file of the repository part of the release.
func (c *converter) keepFile(field, path string, out *manifests.Service) {
	real, _, err := c.repo.resolve(path)
	if err != nil {
		c.fail(field, "", "path %q %s", c.shown(path), why(err))
		return
	}
	f, err := c.identify(real)
	if err != nil {
		c.fail(field, "", "%v", err)
		return
	}
	if !slices.Contains(out.Files, f) {
		out.Files = append(out.Files, f)
	}
}
