package e2e_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/app"
	"github.com/remorahq/remora/internal/cli"
	"github.com/remorahq/remora/manifests/hostfile"
)

// engines are those that the tests of this package share, one for each line.
var engines rig.Engines

// TestMain also plays two other programs: the loader, which an agent starts as
// a child of its own program, and an agent that is cut off at a step.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "load":
			os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		case "crashing-agent":
			os.Exit(crashingAgent(os.Args[3]))
		}
	}
	os.Exit(engines.Main(m))
}

// crashStep is the variable that says at which action an agent dies.
const crashStep = "E2E_CRASH_STEP"

// crashingAgent is the agent, but for a step counter: at the action that
// $E2E_CRASH_STEP counts to, it kills itself with SIGKILL, as a crash would.
func crashingAgent(config string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	data, err := os.ReadFile(config)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	h, diags := hostfile.Parse(config, data, nil, nil)
	if len(diags.Errors()) > 0 {
		fmt.Fprintln(os.Stderr, diags)
		return 2
	}
	step, err := strconv.ParseInt(os.Getenv(crashStep), 10, 64)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	var count atomic.Int64
	a, err := app.New(app.Config{
		Host: h, Version: "crashing", Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
		BeforeAction: func(name string) {
			if n := count.Add(1); n == step {
				fmt.Fprintf(os.Stderr, "killed before action %d: %s\n", n, name)
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := a.Start(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	<-ctx.Done()
	if err := a.Stop(context.WithoutCancel(ctx)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
