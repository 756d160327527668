package main

import (
	"fmt"

	"github.com/remorahq/remora/e2e/conformance/smuggling"
	"github.com/remorahq/remora/e2e/rig"
)

// runSmuggling judges every stream of the table, and every answer.
func runSmuggling(t rig.TB, s settings) score {
	f := newField(t, s.bin)
	var sc score
	judge := func(name, wrong string, err error) {
		sc.total++
		if err != nil {
			wrong = err.Error()
		}
		if wrong == "" {
			sc.passed++
			return
		}
		t.Errorf("smuggling: %s: %s", name, wrong)
	}
	for _, c := range smuggling.Cases() {
		o, err := f.backend.Send(f.addr(f.http), c)
		judge(c.Rule+": "+c.Name, c.Judge(o, "127.0.0.1"), err)
	}
	for _, a := range smuggling.Answers() {
		wrong, err := a.Judge(f.addr(f.raw), f.rawListener)
		judge(fmt.Sprintf("answer, %s: %s", a.Rule, a.Name), wrong, err)
	}
	return sc
}
