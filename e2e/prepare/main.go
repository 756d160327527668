// Command prepare builds what the tests need and is not in the cache yet: the
// test program, the registry, and the current line's engine. With -lint it
// builds the linter, which is the formatter too, instead and prints its folder;
// with -sweep it removes what killed tests left behind.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/remorahq/remora/e2e/rig"
)

func main() {
	lint := flag.Bool("lint", false, "build the linter and print its folder")
	sweep := flag.Bool("sweep", false, "remove what killed tests left behind, and do nothing else")
	flag.Parse()
	if err := run(*lint, *sweep); err != nil {
		fmt.Fprintln(os.Stderr, "prepare:", err)
		os.Exit(1)
	}
}

func run(lint, sweep bool) error {
	if sweep {
		return rig.Sweep()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if !lint {
		return rig.Prepare(ctx, os.Stdout)
	}
	dir, err := rig.PrepareLint(ctx, os.Stderr)
	if err != nil {
		return err
	}
	_, err = fmt.Println(dir)
	return err
}
