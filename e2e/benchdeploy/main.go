// Command benchdeploy measures how fast remora deploys and returns beside
// Docker's own create and start of the same image, in one run on an engine of
// its own, and what an idle agent costs. README.md says what each figure is.
//
// It judges nothing but prints where a figure misses its target; it exits 1
// only when something could not be measured.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/remorahq/remora/e2e/rig"
)

type settings struct {
	bin      string
	line     string
	runs     int
	apps     int
	services int
	idle     int
	keep     string
}

func main() {
	var s settings
	flag.StringVar(&s.bin, "bin", "bin", "folder with remora and remora-ambassador")
	flag.StringVar(&s.line, "line", string(rig.Debian), "line of the engine: debian or current")
	flag.IntVar(&s.runs, "runs", 20, "deploys and returns of each image")
	flag.IntVar(&s.apps, "apps", 10, "apps of the reconcile with nothing to do; 0 leaves it out")
	flag.IntVar(&s.services, "services", 100, "services of each of them")
	flag.IntVar(&s.idle, "idle", 60, "seconds of rest before memory is read")
	flag.StringVar(&s.keep, "log", "", "file to keep the agent's log in")
	flag.Parse()
	os.Exit(rig.Run("benchdeploy", os.Stdout, func(t rig.TB) { run(t, s) }))
}

// figures is what the last line says.
type figures struct {
	floor, remora, rollback float64 // ms
	noop                    float64 // ms of CPU
	agent, ambassador       float64 // MB
}

func run(t rig.TB, s settings) {
	e := rig.StartEngine(t, rig.Line(s.line))
	var f figures
	fmt.Printf("%-24s %9s %9s %9s %11s %9s %9s\n", "ms, medians of "+fmt.Sprint(s.runs), "floor", "remora", "over", "from known", "return", "from known")
	for _, c := range cases() {
		r := measure(t, e, s, c)
		r.print(c.name)
		f.worst(r)
	}
	idle(t, e, s, &f)
	if s.apps > 0 {
		noop(t, e, s, &f)
	}
	f.judge()
	fmt.Printf("deploy: floor_ms=%.0f remora_ms=%.0f rollback_ms=%.0f noop_cpu_ms=%.0f agent_rss_mb=%.1f\n",
		f.floor, f.remora, f.rollback, f.noop, f.agent)
}

// worst keeps the image that misses the most: its floor, deploy and return
// belong together.
func (f *figures) worst(r result) {
	if over := r.remora - r.floor; f.remora == 0 || over > f.remora-f.floor {
		f.floor, f.remora = r.floor, r.remora
	}
	f.rollback = max(f.rollback, r.returnKnown)
}

// judge prints each figure against its target.
func (f *figures) judge() {
	fmt.Println()
	for _, c := range []struct {
		what         string
		got, at_most float64
		unit         string
	}{
		{"deploy over Docker's own", f.remora - f.floor, 100, "ms"},
		{"return, revision known", f.rollback, 50, "ms"},
		{"reconcile with nothing to do", f.noop, 50, "ms CPU"},
		{"agent idle", f.agent, 40, "MB"},
		{"ambassador idle, holder and worker", f.ambassador, 20, "MB"},
	} {
		word := "reached"
		if c.got > c.at_most {
			word = fmt.Sprintf("SHORT by %.1f", c.got-c.at_most)
		}
		fmt.Printf("%-36s %8.1f %-7s target %4.0f  %s\n", c.what, c.got, c.unit, c.at_most, word)
	}
}
