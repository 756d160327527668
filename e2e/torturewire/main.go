// Command torturewire has every kind of traffic go through the ambassador while
// everything happens to it and to what is behind it, and holds each cell of
// that matrix to what it promises. README.md in e2e has the matrix.
//
// It drives the real remora-ambassador and real processes as backends, in the
// agent's place, with the table's types and the control client of the product;
// what judges, package wire and package load, shares no code with it. It exits
// 1 when a promise was broken.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/e2e/wire"
)

type settings struct {
	bin      string
	kinds    []wire.Kind
	events   []wire.Event
	seconds  float64
	rate     int
	patient  bool
	keep     string
	judge    string
	markdown string
	explain  int
}

func main() {
	s := settings{kinds: wire.Kinds(), events: wire.Events()}
	flag.StringVar(&s.bin, "bin", "bin", "folder with remora and remora-ambassador")
	flag.Func("kinds", "comma-separated columns, default all", chooser(wire.Kinds(), &s.kinds))
	flag.Func("events", "comma-separated rows, default all", chooser(wire.Events(), &s.events))
	flag.Float64Var(&s.seconds, "seconds", 25, "how long each event goes on")
	flag.IntVar(&s.rate, "rate", 2000, "requests a second that must be reached, when all kinds run")
	flag.BoolVar(&s.patient, "patient", false, "slow answers and a low rate are printed and break nothing: for a machine that others use too")
	flag.StringVar(&s.keep, "keep", "", "folder to keep the logs in")
	flag.StringVar(&s.judge, "judge", "", "judge the logs that were kept in this folder, and run nothing")
	flag.IntVar(&s.explain, "explain", 3, "how many broken promises of each sort a cell explains")
	flag.StringVar(&s.markdown, "markdown", "", "file to write the matrix and its words to")
	flag.Parse()
	os.Exit(rig.Run("torturewire", os.Stdout, func(t rig.TB) { torture(t, s) }))
}

// chooser reads a list of names, in lower case, with hyphens for spaces.
func chooser[T ~string](all []T, into *[]T) func(string) error {
	return func(text string) error {
		*into = nil
		for name := range strings.SplitSeq(text, ",") {
			i := slices.IndexFunc(all, func(v T) bool { return slug(v) == strings.ToLower(name) })
			if i < 0 {
				return fmt.Errorf("%q is none of %s", name, slugs(all))
			}
			*into = append(*into, all[i])
		}
		return nil
	}
}

func slug[T ~string](v T) string { return strings.ReplaceAll(strings.ToLower(string(v)), " ", "-") }

func slugs[T ~string](all []T) string {
	var names []string
	for _, v := range all {
		names = append(names, slug(v))
	}
	return strings.Join(names, ", ")
}

// minConns and minUnsafe are what makes the load worth its name.
const (
	minConns  = 64
	minUnsafe = 0.20
)

func torture(t rig.TB, s settings) {
	var cells []*wire.Cell
	var elapsed time.Duration
	began := time.Now()
	for _, e := range s.events {
		got, took := judge(t, s.event(t, e), s.explain)
		elapsed += took
		for _, c := range got {
			fmt.Printf("%5s  %s\n", time.Since(began).Round(time.Second), c)
			fmt.Print(c.Explain())
		}
		cells = append(cells, got...)
	}
	if s.markdown != "" {
		if err := os.WriteFile(s.markdown, []byte(wire.Words()+"\n"+wire.Matrix(cells)), 0o644); err != nil {
			t.Errorf("write the matrix: %v", err)
		}
	}
	total := wire.Sum(cells, elapsed)
	worth(t, s, total)
	fmt.Printf("torture: %s\n", total)
	if !total.OK(s.patient) {
		t.Errorf("torture: a promise was broken")
	}
}

// event runs one, unless its logs are there to be judged, and returns the folder
// of its logs.
func (s settings) event(t rig.TB, e wire.Event) (dir string) {
	if s.judge != "" {
		return filepath.Join(s.judge, slug(e))
	}
	root := s.keep
	if root == "" {
		root = t.TempDir()
	}
	sc := &scope{TB: t}
	defer sc.end()
	dir = filepath.Join(root, slug(e))
	d := time.Duration(s.seconds * float64(time.Second))
	if e == wire.Agent {
		st := newAgentStage(sc, s.bin, dir)
		st.torture(e, groups(s.kinds, st.ports), d, st.happen)
		return dir
	}
	st := newStage(sc, s.bin, dir, webFor(e))
	st.torture(e, groups(s.kinds, st.ports), d, func(ctx context.Context) { st.happen(ctx, e) })
	st.keepAccessLog()
	return dir
}

// webFor is the service that has the traffic in an event.
func webFor(e wire.Event) *service {
	s := &service{name: "web", size: 2, tempers: tempers()}
	if e == wire.KeepAlive {
		s.temper = shortKeepAlive
	}
	return s
}

func judge(t rig.TB, dir string, explain int) ([]*wire.Cell, time.Duration) {
	run, err := wire.Load(dir)
	if err != nil {
		t.Fatalf("%v", err)
	}
	cells, err := wire.Judge(run, explain)
	if err != nil {
		t.Errorf("%v", err)
	}
	return cells, run.Elapsed()
}

// worth says whether the load was hard enough to prove something. A choice of
// kinds is for looking into one of them.
func worth(t rig.TB, s settings, total wire.Total) {
	if len(s.kinds) < len(wire.Kinds()) || s.judge != "" {
		return
	}
	conns := 0
	for _, g := range groups(s.kinds, ports{}) {
		conns += g.Conns
	}
	if share := float64(total.Unsafe) / float64(max(1, total.Sent)); share < minUnsafe || conns < minConns {
		t.Errorf("the load is too easy: %.0f %% not idempotent over %d connections", 100*share, conns)
	}
	if total.Rate() < float64(s.rate) && !s.patient {
		t.Errorf("%.0f answers a second, fewer than %d", total.Rate(), s.rate)
	}
}
