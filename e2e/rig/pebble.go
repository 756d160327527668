package rig

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/remorahq/remora/e2e/certtest"
)

func pebbleTool() tool {
	return tool{
		name: "pebble", module: "e2e/tools/pebble", sources: []string{"go.mod", "go.sum"},
		packages: []string{"github.com/letsencrypt/pebble/v2/cmd/pebble", "github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv"},
	}
}

// PebbleOptions vary a certificate authority.
type PebbleOptions struct {
	// Engine runs it in this engine's namespace.
	Engine *Engine
	// Validity of its certificates; default an hour.
	Validity time.Duration
}

// Pebble is a real certificate authority that speaks ACME
// (github.com/letsencrypt/pebble), on loopback, with a name server for which
// every name is 127.0.0.1. What it knows is lost when it stops.
type Pebble struct {
	options        PebbleOptions
	dir            string
	port, dns      int
	admin          int
	process, names *process
}

// NewPebble prepares an authority; [Pebble.Start] starts it.
func NewPebble(t TB, options PebbleOptions) *Pebble {
	t.Helper()
	if options.Validity == 0 {
		options.Validity = time.Hour
	}
	p := &Pebble{options: options, dir: t.TempDir(), port: FreePort(t), dns: FreePort(t), admin: FreePort(t)}
	ca := certtest.New(t)
	own := ca.Issue(t, "localhost", "127.0.0.1")
	for name, data := range map[string][]byte{"ca.pem": ca.PEM(), "cert.pem": own.Cert, "key.pem": own.Key} {
		must(t, "write "+name, os.WriteFile(filepath.Join(p.dir, name), data, 0o600))
	}
	t.Cleanup(func() { p.Stop(t) })
	return p
}

// Directory is its directory's URL, and CAFile what that one's TLS is judged by.
func (p *Pebble) Directory() string { return "https://127.0.0.1:" + strconv.Itoa(p.port) + "/dir" }

// CAFile is the file of the authority of Directory's own certificate.
func (p *Pebble) CAFile() string { return filepath.Join(p.dir, "ca.pem") }

// Start starts it; http and tls are the ports of 127.0.0.1 at which it looks for
// the answers to http-01 and tls-alpn-01.
func (p *Pebble) Start(t TB, http, tls int) {
	t.Helper()
	must(t, "configure pebble", p.configure(http, tls))
	where := p.options.Engine
	if where == nil {
		where = &Engine{}
	}
	bin := mustTool(t, pebbleTool())
	resolver := "127.0.0.1:" + strconv.Itoa(p.dns)
	names := where.Command(filepath.Join(bin, "pebble-challtestsrv"), "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "",
		"-dnsserver", resolver, "-management", "127.0.0.1:"+strconv.Itoa(p.admin), "-defaultIPv6", "", "-defaultIPv4", "127.0.0.1")
	var err error
	p.names, err = startProcess("pebble-challtestsrv", filepath.Join(p.dir, "names.log"), names)
	must(t, "start the name server", err)
	cmd := where.Command(filepath.Join(bin, "pebble"), "-config", filepath.Join(p.dir, "config.json"), "-dnsserver", resolver)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	p.process, err = startProcess("pebble", filepath.Join(p.dir, "log"), cmd)
	must(t, "start pebble", err)
	Eventually(t, 20*time.Second, "wait for pebble", func() error {
		conn, err := where.DialContext(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)))
		if err != nil {
			return errors.Join(err, p.process.alive(), p.names.alive())
		}
		return conn.Close()
	})
}

func (p *Pebble) configure(http, tls int) error {
	config := map[string]any{"pebble": map[string]any{
		"listenAddress": "127.0.0.1:" + strconv.Itoa(p.port), "managementListenAddress": "",
		"certificate": filepath.Join(p.dir, "cert.pem"), "privateKey": filepath.Join(p.dir, "key.pem"),
		"httpPort": http, "tlsPort": tls, "keyAlgorithm": "ecdsa",
		"retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles": map[string]any{"default": map[string]any{
			"description": "of the rig", "validityPeriod": int(p.options.Validity.Seconds()),
		}},
	}}
	body, err := json.Marshal(config)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.dir, "config.json"), body, 0o600)
}

// Output is what it said so far.
func (p *Pebble) Output(t TB) string {
	t.Helper()
	out, err := p.process.output()
	must(t, "read pebble's log", err)
	return string(out)
}

// Stop stops it; it may be started again, as another authority.
func (p *Pebble) Stop(t TB) {
	t.Helper()
	for _, proc := range []*process{p.process, p.names} {
		if err := proc.stop(syscall.SIGTERM, 10*time.Second); err != nil {
			t.Errorf("stop pebble: %v", err)
		}
	}
}
