// Command benchambassador measures what the ambassador costs beside HAProxy,
// nginx, Caddy and net/http/httputil: CPU time of the proxy for each request,
// connection or MiB, as the operating system accounts it. All proxies run at
// once, each pinned to the same core; clients and backends have another one.
// Rounds are interleaved and medians are printed. README.md says how to read it.
//
// It judges nothing: it exits 1 only when something could not be measured.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"time"

	"github.com/remorahq/remora/e2e/rig"
)

type settings struct {
	bin     string
	seconds float64
	rounds  int
	cases   string
	peers   string
	cores   cores
}

// cores are where things run.
type cores struct{ proxy, load int }

func main() {
	if len(os.Args) > 1 && helperMain(os.Args[1], os.Args[2:]) {
		return
	}
	s := settings{cores: cores{proxy: 0, load: 1}}
	flag.StringVar(&s.bin, "bin", "bin", "folder with remora-ambassador")
	flag.Float64Var(&s.seconds, "seconds", 3, "length of one measurement")
	flag.IntVar(&s.rounds, "rounds", 5, "rounds, each with all peers")
	flag.StringVar(&s.cases, "cases", ".", "regular expression of the cases' names")
	flag.StringVar(&s.peers, "peers", ".", "regular expression of the peers' names")
	flag.Parse()
	os.Exit(rig.Run("bench-ambassador", os.Stdout, func(t rig.TB) { run(t, s) }))
}

func run(t rig.TB, s settings) {
	if runtime.NumCPU() < 2 {
		t.Fatalf("two cores are needed, one for the proxy and one for clients and backends; this machine has %d", runtime.NumCPU())
	}
	cases, err := regexp.Compile(s.cases)
	if err != nil {
		t.Fatalf("-cases: %v", err)
	}
	names, err := regexp.Compile(s.peers)
	if err != nil {
		t.Fatalf("-peers: %v", err)
	}
	f := newField(t, s)
	peers := f.start(t, names)
	var lines []string
	for _, c := range allCases() {
		if cases.MatchString(c.name) {
			lines = append(lines, measureCase(t, f, c, peers))
		}
	}
	fmt.Println()
	for _, l := range lines {
		fmt.Println(l)
	}
}

// length is one measurement's.
func (s settings) length() time.Duration { return time.Duration(s.seconds * float64(time.Second)) }
