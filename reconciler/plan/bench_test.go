package plan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/remorahq/remora/reconciler/ledger"
)

// BenchmarkNoChange plans an app of 1,000 services in which nothing changes.
func BenchmarkNoChange(b *testing.B) {
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "s%04d app:v1 port=%d:80 env=A:1", i, 10000+i)
		if i > 0 {
			fmt.Fprintf(&text, " depends=s%04d", i/2)
		}
		text.WriteString("\n")
	}
	app := parseApp(b, text.String())
	in := input(app, ledger.App{})
	first := Plan(in)
	if first.Hold != nil {
		b.Fatal(first.Hold)
	}
	in = input(app, succeed(in, first))
	for b.Loop() {
		if r := Plan(in); !r.NoChange {
			b.Fatal("changes")
		}
	}
}
