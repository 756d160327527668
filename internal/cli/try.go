package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/internal/api"
	composition "github.com/remorahq/remora/internal/app"
	"github.com/remorahq/remora/internal/version"
	"github.com/remorahq/remora/manifests"
)

func (a *app) tryCommand() *cobra.Command {
	t := trial{app: a}
	c := &cobra.Command{
		Use:   "try DIR",
		Short: "run your own compose file with remora, with no file to write",
		Long: `Runs the compose project in DIR (or the projects in its folders) under remora, in
the foreground: published ports are served by the ambassador, an edit is deployed
the moment it is saved, a broken release is rolled back.

Needs no host file and no repository; what docker compose would allow is allowed.
Ctrl-C removes the containers and networks that it made. Volumes stay, as always.`,
		Example: `  remora try ./myapp
  remora try . --keep             Ctrl-C leaves it running
  remora status --socket …        from another terminal, as try prints it`,
		Args: exactly(1),
		RunE: func(c *cobra.Command, args []string) error { return t.run(c.Context(), args[0]) },
	}
	c.Flags().BoolVar(&t.keep, "keep", false, "leave containers, networks and ambassador running at the end")
	c.Flags().StringVar(&t.engine, "engine", "", "the container engine; default $DOCKER_HOST, else the local one")
	return c
}

// trial is one run of try.
type trial struct {
	*app
	keep   bool
	engine string

	dir   string // what is tried
	state string // the temporary folder
	host  manifests.Host
	log   *slog.Logger
	// created says that the state folder is new, started that the agent ran.
	created, started bool
}

func (t *trial) run(ctx context.Context, dir string) (err error) {
	// Ctrl-C ends the program that a pipe leads to as well: what was made is
	// removed although nobody reads on.
	signal.Ignore(syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGPIPE)
	if err := t.prepare(dir); err != nil {
		return err
	}
	logFile, err := os.OpenFile(filepath.Join(t.state, "agent.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close() //nolint:errcheck // a log
	t.log = newLogger(logFile, t.host.Log, new(slog.LevelVar))
	proxy, err := startAmbassador(ctx, t.host)
	if err != nil {
		return errors.Join(err, t.giveUp(nil))
	}
	err = t.serve(ctx)
	switch {
	case !t.started:
		return errors.Join(err, t.giveUp(proxy))
	case t.keep:
		t.sayKept()
		return err
	}
	fmt.Fprintln(t.out, t.screen.faint("removing what it made …"))
	err = errors.Join(err, t.teardown(ctx), proxy.stop())
	if err != nil {
		return fmt.Errorf("%w\nthe agent's log is %s", err, logFile.Name())
	}
	return t.cleanUp()
}

// giveUp takes back what was made for an agent that did not start. What was
// there before belongs to another try of the same folder, which may be running.
func (t *trial) giveUp(p *proxy) error {
	var err error
	if p != nil && p.exited != nil {
		err = p.stop()
	}
	if !t.created || err != nil {
		return err
	}
	return t.cleanUp()
}

// prepare makes the host file that there is none of, and its folders.
func (t *trial) prepare(dir string) error {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return usage("%s is no folder; name the one with your compose file", dir)
	}
	full, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if full, err = filepath.EvalSymlinks(full); err != nil {
		return err
	}
	t.dir = full
	sum := sha256.Sum256([]byte(full))
	id := hex.EncodeToString(sum[:4])
	t.state = filepath.Join(os.TempDir(), fmt.Sprintf("remora-try-%d-%s", os.Getuid(), id))
	if t.created, err = ownFolder(t.state); err != nil {
		return err
	}
	h := manifests.DefaultHost()
	h.Name = "try-" + id
	h.State, h.Run = filepath.Join(t.state, "state"), filepath.Join(t.state, "run")
	h.Policy.Preset = manifests.PresetCompose
	h.Ambassador.Mode = "external" // started below, so that it can be stopped
	h.API.Socket = filepath.Join(h.Run, "agent.sock")
	h.Sources = []manifests.Source{{Name: h.Name, Folder: full, Timeout: manifests.DefaultGitTimeout}}
	h.Engine = t.engine
	t.host, err = fromMachine(h)
	return err
}

// ownFolder makes a folder that nobody else can have prepared, or takes the one
// that an earlier try of ours left.
func ownFolder(dir string) (created bool, err error) {
	err = os.Mkdir(dir, 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return false, fmt.Errorf("make the state folder: %w", err)
	}
	created = err == nil
	info, err := os.Lstat(dir)
	if err != nil {
		return created, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(stat.Uid) != os.Getuid() || info.Mode().Perm() != 0o700 {
		return created, fmt.Errorf("%s exists and is not a private folder of yours; remove it", dir)
	}
	return created, nil
}

// serve runs the agent and shows what it does until ctx ends.
func (t *trial) serve(ctx context.Context) error {
	in, err := composition.New(composition.Config{Host: t.host, Logger: t.log, Version: version.Get().Version, Progress: t.err})
	if err != nil {
		return err
	}
	if err := in.Start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // asked to end while starting
		}
		return err
	}
	t.started = true
	view, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		defer stop()
		ended <- in.Wait()
	}()
	t.client.Close()
	t.client = api.NewClient(t.host.API.Socket, os.Getenv("SUDO_USER"))
	shown := t.show(view)
	if errors.Is(shown, context.Canceled) {
		shown = nil
	}
	err = in.Stop(context.WithoutCancel(ctx))
	return errors.Join(shown, err, <-ended)
}

// show follows status and events: drawn over on a terminal, else line by line.
func (t *trial) show(ctx context.Context) error {
	end := "Ctrl-C removes what it made"
	if t.keep {
		end = "Ctrl-C leaves it running"
	}
	title := fmt.Sprintf("%s %s  %s", t.screen.bold("remora try"), t.dir, t.screen.faint(end))
	t.screen.print([]string{title, t.screen.faint("from another terminal: export REMORA_SOCKET=" + t.host.API.Socket), ""})
	s := &statusRun{app: t.app, events: 8, ports: true}
	if t.screen.live {
		return s.watchScreen(ctx)
	}
	return s.watchBoth(ctx)
}

// teardown removes containers and networks, with an agent that only does that:
// the one that ran would repair them.
func (t *trial) teardown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	in, err := composition.New(composition.Config{Host: t.host, Logger: t.log, Version: version.Get().Version})
	if err != nil {
		return err
	}
	return errors.Join(in.Teardown(ctx), in.Stop(ctx))
}

// cleanUp removes the temporary folder, and first what is mounted in it: the
// folder of network namespaces.
func (t *trial) cleanUp() error {
	mounted, _ := filepath.Glob(filepath.Join(t.host.Run, "netns", "*"))
	for _, path := range append(mounted, filepath.Join(t.host.Run, "netns")) {
		if err := unix.Unmount(path, unix.MNT_DETACH); err == nil {
			t.log.Debug("unmounted", "path", path)
		}
	}
	if err := os.RemoveAll(t.state); err != nil {
		return fmt.Errorf("remove the state folder: %w", err)
	}
	return nil
}

func (t *trial) sayKept() {
	fmt.Fprintf(t.out, "%s containers and ambassador run on; nothing watches them now\n", t.screen.good("✔"))
	fmt.Fprintf(t.out, "  %s remora try %s\n", t.screen.faint("go on, or remove it:"), t.dir)
	fmt.Fprintf(t.out, "  %s %s\n", t.screen.faint("state:"), t.state)
}
