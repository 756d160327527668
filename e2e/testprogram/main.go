// Command testprogram is the one program inside every image of the tests: a
// web server, TCP echo, gRPC server, queue worker, timer, one-shot job or little database,
// as its arguments and APP_* variables say. It misbehaves only when told to.
//
// It must not import anything of remora: it stands for a stranger's program,
// and its own account of the requests it received is what the tests compare
// with the clients'. Each role runs in goroutines that end before run returns.
//
//	testprogram [flags] [role…]     roles: http tcp grpc worker queue timer database caller
//	testprogram [flags] once        one-shot job
//	testprogram healthcheck [url]   for HEALTHCHECK
//	testprogram cat|ls|env|write …  what a shell would do in an image that has none
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

func main() {
	os.Exit(run(os.Args[1:]))
}

// exitError ends the program with a code of its own.
type exitError struct {
	code int
	text string
}

func (e *exitError) Error() string { return e.text }

func run(args []string) int {
	if code, ok := runTool(args); ok {
		return code
	}
	s, roles, err := parseSettings(args, os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testprogram:", err)
		return 2
	}
	err = start(s, roles)
	var exit *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		fmt.Fprintln(os.Stderr, "testprogram:", exit.text)
		return exit.code
	default:
		fmt.Fprintln(os.Stderr, "testprogram:", err)
		return 1
	}
}

func start(s settings, roles []string) error {
	ctx, stop := terminated(context.Background(), s.Temper)
	defer stop()
	fmt.Printf("start version=%s instance=%s pid=%d roles=%v\n", s.Version, s.Instance, os.Getpid(), roles)
	go crash(s)
	if !pause(ctx, s.StartDelay) {
		return nil
	}
	account, err := openAccount(s)
	if err != nil {
		return err
	}
	defer account.Close()
	if len(roles) == 1 && roles[0] == "once" {
		return once(ctx, s, account)
	}
	return serve(ctx, s, roles, account)
}

// crash ends the process in the middle of whatever it does.
func crash(s settings) {
	if s.CrashAfter <= 0 {
		return
	}
	time.Sleep(s.CrashAfter)
	fmt.Printf("crash version=%s after=%s code=%d\n", s.Version, s.CrashAfter, s.ExitCode)
	os.Exit(s.ExitCode)
}

// pause waits for d; it reports false when the context ended first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
