package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// terminated is a context that ends at the signal that asks the program to
// stop, as far as its temper listens to it. SIGHUP, SIGUSR1 and SIGUSR2 are
// only reported.
func terminated(parent context.Context, t temper) (context.Context, func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT,
		syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sig := range signals {
			fmt.Printf("signal %s\n", sig)
			if stops(sig) {
				obey(t, cancel)
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		<-done
		cancel()
	}
}

func stops(sig os.Signal) bool {
	return sig == syscall.SIGTERM || sig == syscall.SIGINT || sig == syscall.SIGQUIT
}

func obey(t temper, cancel func()) {
	switch t {
	case abrupt:
		os.Exit(0)
	case stubborn:
	default:
		cancel()
	}
}
