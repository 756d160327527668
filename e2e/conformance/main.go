// Command conformance holds the ambassador against HTTP's rules, with judges
// that share no code with it: streams that parsers disagree about, scripts for
// varnishtest, h2spec, the same streams to other proxies, and slowhttptest.
// README.md says what each part is.
//
// It exits 1 when a part found something that is not explained in a committed
// file beside it.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/remorahq/remora/e2e/rig"
)

type settings struct {
	bin     string
	only    string
	verbose bool
}

// score is how many of a part's cases are as they must be.
type score struct{ passed, total int }

func (s score) String() string { return fmt.Sprintf("%d/%d", s.passed, s.total) }

// part is one judge.
type part struct {
	name string
	run  func(t rig.TB, s settings) score
	// last says that the part is named in the last line.
	last bool
}

func parts() []part {
	return []part{
		{"h2spec", runH2spec, true},
		{"vtc", runScripts, true},
		{"smuggling", runSmuggling, true},
		{"differential", runDifferential, false},
		{"slow", runSlow, false},
	}
}

func main() {
	var s settings
	flag.StringVar(&s.bin, "bin", "bin", "folder with remora-ambassador")
	flag.StringVar(&s.only, "only", ".", "regular expression of the parts' names: h2spec, vtc, smuggling, differential, slow")
	flag.BoolVar(&s.verbose, "v", false, "print what passes, too")
	flag.Parse()
	os.Exit(rig.Run("conformance", os.Stdout, func(t rig.TB) { run(t, s) }))
}

func run(t rig.TB, s settings) {
	only, err := regexp.Compile(s.only)
	if err != nil {
		t.Fatalf("-only: %v", err)
	}
	last := []string{"conformance:"}
	for _, p := range parts() {
		if !only.MatchString(p.name) {
			continue
		}
		got := p.run(t, s)
		fmt.Printf("%s: %s\n", p.name, got)
		if p.last {
			last = append(last, p.name+"="+got.String())
		}
	}
	fmt.Println(strings.Join(last, " "))
}
