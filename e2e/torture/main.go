// Command torture switches releases back and forth under load and accounts for
// every request: deploys, reverts and rollbacks of five services whose
// programs take a stop in five ways. README.md in e2e/load says what counts.
//
// It judges the product from outside, by the clients' and the backends' logs
// alone, and exits 1 when anything was lost, done twice, or too slow.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/remorahq/remora/e2e/rig"
)

type settings struct {
	bin   string
	line  string
	n     int
	rate  int
	maxMS int64
	keep  string
}

// minConns and minUnsafe are what makes the load worth its name.
const (
	minConns  = 64
	minUnsafe = 0.20
)

func main() {
	var s settings
	flag.StringVar(&s.bin, "bin", "bin", "folder with remora and remora-ambassador")
	flag.StringVar(&s.line, "line", string(rig.Debian), "line of the engine: debian or current")
	flag.IntVar(&s.n, "n", 200, "switches and rollbacks")
	flag.IntVar(&s.rate, "rate", 2000, "requests a second that must be reached")
	flag.Int64Var(&s.maxMS, "max", 250, "slowest answer that is allowed, in ms, without a backend's own time")
	flag.StringVar(&s.keep, "keep", "", "folder to keep the logs in")
	flag.Parse()
	os.Exit(rig.Run("torture", os.Stdout, func(t rig.TB) { run(t, s) }))
}

func run(t rig.TB, s settings) {
	e := rig.StartEngine(t, rig.Line(s.line))
	f := newField(t, e, s)
	defer f.keepLogs(t)
	f.begin(t)
	began := time.Now()
	for f.switches < s.n {
		f.next(t)
		f.progress(began)
		f.rest(t)
	}
	v := f.judge(t)
	fmt.Print(v.Explain())
	machine := f.machine(t).Milliseconds()
	fmt.Printf("meanwhile the slowest answer of a program beside remora, reached directly and never switched, took %d ms\n", machine)
	failed := !v.OK()
	if share := float64(v.Unsafe) / float64(max(1, v.Sent)); share < minUnsafe || f.conns < minConns {
		failed = true
		fmt.Printf("the load is too easy: %.0f %% not to be replayed over %d connections\n", 100*share, f.conns)
	}
	if slowest := v.Max.Milliseconds(); slowest > s.maxMS {
		// What nothing between a client and a program exceeded in the same run
		// is no fault of what stands between them.
		failed = failed || slowest > machine
		fmt.Printf("the slowest answer took %d ms, more than %d; the machine alone took %d\n", slowest, s.maxMS, machine)
	}
	if v.Rate() < float64(s.rate) {
		failed = true
		fmt.Printf("%.0f answers a second, fewer than %d\n", v.Rate(), s.rate)
	}
	fmt.Printf("torture: switches=%d %s\n", f.switches, v)
	if failed {
		t.Errorf("torture: failed")
	}
}
