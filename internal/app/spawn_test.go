package app

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/remorahq/remora/manifests"
)

// standIn is an ambassador that opens the control socket and ends when told:
// what keep looks at is whether somebody listens.
const standIn = `#!/bin/sh
while [ $# -gt 0 ]; do
  case $1 in --run) run=$2;; esac
  shift
done
echo $$ >> "$run/starts"
exec "$REMORA_TEST_LISTEN" -test.run='^TestListenHelper$' -- "$run/ambassador.sock"
`

// TestListenHelper is no test: it is the program of the stand-in.
func TestListenHelper(t *testing.T) {
	if len(os.Args) < 2 || filepath.Base(os.Args[len(os.Args)-1]) != "ambassador.sock" {
		t.Skip("run by TestKeepStartsAgain")
	}
	listenForEver(t, os.Args[len(os.Args)-1])
}

// An ambassador of the agent's own that ends is started again, and leaves no
// zombie; one of a service manager is not.
func TestKeepStartsAgain(t *testing.T) {
	for _, mode := range []string{"spawn", "external"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			script := filepath.Join(dir, "program")
			if err := os.WriteFile(script, []byte(standIn), 0o700); err != nil { // it is run
				t.Fatal(err)
			}
			t.Setenv("REMORA_TEST_LISTEN", os.Args[0])
			a := newAmbassador(manifests.Host{
				State: dir, Run: dir, Ambassador: manifests.HostAmbassador{Mode: mode, Binary: script},
			}, slog.New(slog.DiscardHandler))
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); a.keep(ctx) }()
			defer func() { cancel(); <-done; endAll(t, dir) }()
			if mode == "external" {
				select {
				case <-done: // it has nothing to do
				case <-time.After(5 * time.Second):
					t.Error("it keeps what is not its own")
				}
				return
			}
			first := awaitStart(t, a, dir, 1)
			end(t, first)
			second := awaitStart(t, a, dir, 2)
			if first == second {
				t.Error("the same process")
			}
			awaitReaped(t, first)
		})
	}
}

// The ambassador's folder is its worker's, who may have put links there: what the
// agent writes as root is elsewhere.
func TestSpawnFollowsNoLinkOfTheWorker(t *testing.T) {
	dir := t.TempDir()
	script, victim := filepath.Join(dir, "program"), filepath.Join(dir, "victim")
	folder := filepath.Join(dir, "ambassador")
	for _, err := range []error{
		os.WriteFile(script, []byte("#!/bin/sh\necho spoken\n"), 0o700), // it is run
		os.WriteFile(victim, nil, 0o600),
		os.Mkdir(folder, 0o700),
		os.Symlink(victim, filepath.Join(folder, "ambassador.log")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	a := newAmbassador(manifests.Host{
		State: dir, Run: dir, Ambassador: manifests.HostAmbassador{Mode: "spawn", Binary: script},
	}, slog.New(slog.DiscardHandler))
	logFile, err := a.spawn()
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the program ends", func() bool { a.reap(); return len(a.children) == 0 })
	if said, err := os.ReadFile(logFile); err != nil || string(said) != "spoken\n" {
		t.Errorf("its log is %q, %v", said, err)
	}
	if got, err := os.ReadFile(victim); err != nil || len(got) != 0 {
		t.Errorf("the worker's link led to a file that now has %q, %v", got, err)
	}
}
