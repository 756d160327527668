// Command remora keeps a Docker host as a git repository says: the agent and
// the command line.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/remorahq/remora/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
