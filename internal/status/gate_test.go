package status_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"github.com/remorahq/remora/internal/status"
)

// declaredReasons reads the constants of type Reason from the source, so that
// a reason that is added without its rows fails here.
func declaredReasons(t *testing.T) []status.Reason {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var reasons []status.Reason
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); ok && id.Name == "Reason" {
			v, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			reasons = append(reasons, status.Reason(v))
		}
		return true
	})
	if len(reasons) < 40 {
		t.Fatalf("found %d reasons in reason.go, want all of them", len(reasons))
	}
	return reasons
}

func TestEveryReasonHasOneGate(t *testing.T) {
	rows := map[status.Reason][]string{}
	for _, row := range status.Gates() {
		if row.Name == "" || row.Passed == "" || row.Who == "" {
			t.Errorf("row %+v is incomplete", row)
		}
		for _, r := range row.Holds {
			rows[r] = append(rows[r], row.Name)
		}
	}
	for _, r := range declaredReasons(t) {
		if len(rows[r]) != 1 {
			t.Errorf("%s is in gates %q, want exactly one", r, rows[r])
		}
		if e, ok := status.Explain(r); !ok || e.Meaning == "" || e.Remedy == "" {
			t.Errorf("%s has no entry in the table of reasons: %+v", r, e)
		}
		delete(rows, r)
	}
	for r, names := range rows {
		t.Errorf("gates %q hold %q, which is not declared", names, r)
	}
}

func TestChainStopsAtTheGateThatHolds(t *testing.T) {
	for _, r := range declaredReasons(t) {
		gates, live := status.Chain(status.Gate{Reason: r})
		last := gates[len(gates)-1]
		if live != r.Open() || last.OK != live || last.Reason != r || last.Message == "" {
			t.Errorf("%s: live=%v, last gate %+v", r, live, last)
		}
		if !live && (last.Who == "" || last.Next == "") {
			t.Errorf("%s: the gate does not say who can change it and how: %+v", r, last)
		}
		for _, g := range gates[:len(gates)-1] {
			if !g.OK {
				t.Errorf("%s: gate %s before the last is not passed", r, g.Name)
			}
		}
	}
}

func TestEventFilter(t *testing.T) {
	e := status.Event{Environment: "production", App: "shop", Service: "web", Reason: status.RolledBack}
	for name, tc := range map[string]struct {
		filter status.EventFilter
		want   bool
	}{
		"all":         {status.EventFilter{}, true},
		"app":         {status.EventFilter{App: "shop"}, true},
		"env_app":     {status.EventFilter{App: "production/shop"}, true},
		"other_env":   {status.EventFilter{App: "staging/shop"}, false},
		"other_app":   {status.EventFilter{App: "sho"}, false},
		"service":     {status.EventFilter{App: "shop", Service: "web"}, true},
		"other":       {status.EventFilter{Service: "db"}, false},
		"reason":      {status.EventFilter{Reason: status.RolledBack}, true},
		"otherreason": {status.EventFilter{Reason: status.Succeeded}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.filter.Match(e); got != tc.want {
				t.Errorf("Match = %v, want %v", got, tc.want)
			}
		})
	}
}
