package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/remorahq/remora/e2e/rig"
)

// benchCase is one way of loading a proxy.
type benchCase struct {
	name string
	unit string // of what is counted, for people
	load func(t rig.TB, f *field, p *peer, length time.Duration) result
	// without are the peers that do not do it.
	without []string
	// memory measures what rests, not what moves.
	memory bool
}

func allCases() []benchCase {
	noTCP := []string{"nginx", "caddy", "httputil"} // nginx's stream module is a package of its own
	noTLS := []string{"httputil"}
	return []benchCase{
		{name: "small64", unit: "request", load: wrk(64, "http", "/")},
		{name: "small512", unit: "request", load: wrk(512, "http", "/")},
		{name: "bulk1m", unit: "request", load: wrk(16, "http", "/large")},
		{name: "post4k", unit: "request", load: wrk(64, "http", "/", post4k)},
		{name: "tls64", unit: "request", load: wrk(64, "https", "/"), without: noTLS},
		{name: "h2", unit: "request", load: h2load, without: noTLS},
		{name: "tcp-small", unit: "exchange", load: own("pingpong", 64, (*peer).tcp), without: noTCP},
		{name: "tcp-bulk", unit: "MiB", load: own("bulk", 8, (*peer).bulk), without: noTCP},
		{name: "tcp-connect", unit: "connection", load: own("connect", 32, (*peer).tcp), without: noTCP},
		{name: "idle9000", unit: "connection", load: rest(9000), memory: true},
	}
}

func (p *peer) tcp() int  { return p.TCP }
func (p *peer) bulk() int { return p.Bulk }

// post4k makes wrk send a body.
const post4k = `wrk.method = "POST"; wrk.body = string.rep("x", 4096); wrk.headers["Content-Type"] = "application/octet-stream"`

// wrk loads by wrk(1); a script says what its requests are.
func wrk(conns int, scheme, path string, script ...string) func(rig.TB, *field, *peer, time.Duration) result {
	return func(t rig.TB, f *field, p *peer, length time.Duration) result {
		port := p.HTTP
		if scheme == "https" {
			port = p.TLS
		}
		args := []string{"-t1", "-c" + strconv.Itoa(conns), "-d" + strconv.Itoa(max(1, int(length.Seconds()))) + "s", "--timeout", "10s"}
		for _, s := range script {
			args = append(args, "-s", f.write(t, "wrk.lua", []byte(s)))
		}
		out := output(t, f, "wrk", append(args, fmt.Sprintf("%s://localhost:%d%s", scheme, port, path))...)
		r := result{Done: find(t, out, `(\d+) requests in`)}
		for _, m := range regexp.MustCompile(`(?m)(?:connect|read|write|timeout|Non-2xx or 3xx responses:) (\d+)`).FindAllStringSubmatch(out, -1) {
			n, _ := strconv.ParseInt(m[1], 10, 64)
			r.Failed += n
		}
		return r
	}
}

// h2load asks over HTTP/2 and TLS: 16 connections with 32 streams each.
func h2load(t rig.TB, f *field, p *peer, length time.Duration) result {
	out := output(t, f, "h2load", "-c16", "-m32", "-D"+strconv.Itoa(max(1, int(length.Seconds()))), fmt.Sprintf("https://localhost:%d/", p.TLS))
	if !strings.Contains(out, "Application protocol: h2") {
		t.Fatalf("%s does not speak HTTP/2:\n%s", p.name, out)
	}
	return result{Done: find(t, out, `(\d+) succeeded`), Failed: int64(find(t, out, `(\d+) failed`) + find(t, out, `(\d+) errored`))}
}

func find(t rig.TB, text, pattern string) float64 {
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no %s in:\n%s", pattern, text)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatalf("read %q: %v", m[0], err)
	}
	return n
}

func output(t rig.TB, f *field, name string, args ...string) string {
	cmd := pinned(f.cores.load, name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

// own loads by this program's own client.
func own(kind string, conns int, port func(*peer) int) func(rig.TB, *field, *peer, time.Duration) result {
	return func(t rig.TB, f *field, p *peer, length time.Duration) result {
		self, err := os.Executable()
		if err != nil {
			t.Fatalf("find own program: %v", err)
		}
		out := output(t, f, self, "load", "-kind", kind, "-addr", fmt.Sprintf("127.0.0.1:%d", port(p)),
			"-conns", strconv.Itoa(conns), "-for", length.String())
		var r result
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatalf("%s: %v\n%s", kind, err, out)
		}
		return r
	}
}

// rest counts the connections that rest while memory is read.
func rest(conns int) func(rig.TB, *field, *peer, time.Duration) result {
	return func(t rig.TB, f *field, p *peer, length time.Duration) result {
		self, err := os.Executable()
		if err != nil {
			t.Fatalf("find own program: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		cmd := exec.CommandContext(ctx, self, "load", "-kind", "idle", "-addr", fmt.Sprintf("127.0.0.1:%d", p.HTTP), "-conns", strconv.Itoa(conns))
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatalf("rest: %v", err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatalf("rest: %v", err)
		}
		cmd.Stderr = os.Stdout
		if err := cmd.Start(); err != nil {
			t.Fatalf("rest: %v", err)
		}
		if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
			t.Fatalf("%s: rest: %q %v", p.name, line, err)
		}
		select {
		case <-time.After(length): // buffers go back, a collection or two
		case <-t.Context().Done():
		}
		u, err := usageOf(p.process.PID())
		if err != nil {
			t.Fatalf("%v", err)
		}
		_ = stdin.Close()
		_ = cmd.Wait()
		return result{Done: float64(u.rss) / (1 << 20)}
	}
}
