package main

import (
	"testing"

	"go.uber.org/goleak"
)

func TestUpgradesLoseNothing(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	run(t, settings{n: 3, clients: 64, webSockets: 8})
}
