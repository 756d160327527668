// Package cli is remora's command line: one file per command. Commands talk to
// an agent only through the API's client; `agent` and `try` are the two that
// are one.
//
// What a person reads goes to standard output, what went wrong to standard
// error. Colour and redrawing happen on a terminal only. Nothing here keeps
// state between two calls of [Main], which may run beside each other.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/remorahq/remora/internal/api"
	"github.com/remorahq/remora/internal/printable"
	"github.com/remorahq/remora/internal/status"
)

// The exit codes that scripts may rely on. Those of `wait` stand in wait.go.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// exitError ends the program with a code; with a nil err it has said all there
// is to say.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usage is an error of how a command was written.
func usage(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// app is what all commands share in one call of Main.
type app struct {
	in       io.Reader
	out, err io.Writer
	screen   *screen
	socket   string
	output   string
	allHosts bool
	hosts    []string
	// began says that a command's own code runs: an error is not one of usage.
	began  bool
	client *api.Client
}

// Main runs remora with the arguments after the program's name and returns the
// exit code.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{in: stdin, out: stdout, err: stderr, screen: newScreen(stdout, os.Getenv)}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if a.client != nil {
		a.client.Close()
	}
	return a.report(err)
}

// report prints err and returns the exit code that it means.
func (a *app) report(err error) int {
	if err == nil {
		return exitOK
	}
	code := exitFailed
	if exit, ok := errors.AsType[*exitError](err); ok {
		code = exit.code
		if exit.err == nil {
			return code
		}
	} else if !a.began {
		code = exitUsage
		if !strings.Contains(err.Error(), "see: ") {
			err = fmt.Errorf("%w\nsee: remora --help", err)
		}
	}
	if errors.Is(err, context.Canceled) {
		return 130 // as a shell reports an interrupt
	}
	style := newStyle(a.err, os.Getenv)
	problem, ok := errors.AsType[*status.Error](err)
	if !ok || problem.Remedy == "" {
		fmt.Fprintf(a.err, "%s %s\n", style.bad("remora:"), printable.Text(err.Error()))
		return code
	}
	message := problem.Message
	if problem.Reason != "" {
		message += fmt.Sprintf(" (%s)", problem.Reason)
	}
	fmt.Fprintf(a.err, "%s %s\n  %s %s\n", style.bad("remora:"), message, style.faint("→"), problem.Remedy)
	return code
}

// The groups of the help.
const (
	groupSee    = "see"
	groupChange = "change"
	groupFix    = "fix"
	groupHost   = "host"
)

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "remora",
		Short: "keep this host's containers as a git repository says, without dropping a request",
		Long: `remora polls a git repository of Compose files, converges this host's containers
to match, and switches traffic between releases without dropping a request.

Merge a commit that changes a release tag: the host deploys it. Revert it: the
host is back. These commands watch that, and help when something holds it up.`,
		Example: `  remora try ./myapp              see your own compose file run, in one command
  remora status -w                watch this host
  remora explain shop             why is my change not live?
  remora rollback shop --reason "checkout answers 500"`,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentPreRunE = a.begin
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%w", err) })
	a.globalFlags(root)
	root.AddGroup(
		&cobra.Group{ID: groupSee, Title: "See:"}, &cobra.Group{ID: groupChange, Title: "Change:"},
		&cobra.Group{ID: groupFix, Title: "Fix:"}, &cobra.Group{ID: groupHost, Title: "Host:"},
	)
	root.SetHelpCommandGroupID(groupHost)
	root.SetCompletionCommandGroupID(groupHost)
	a.add(root, groupSee, a.statusCommand(), a.eventsCommand(), a.logsCommand(), a.historyCommand(), a.explainCommand(), a.routesCommand())
	a.add(root, groupChange, a.planCommand(), a.renderCommand(), a.validateCommand(), a.setCommand(), a.reconcileCommand(),
		a.deployCommand(), a.waitCommand())
	a.add(root, groupFix, a.rollbackCommand(), a.unpinCommand(), a.suspendCommand(), a.resumeCommand(), a.retryCommand(),
		a.restartCommand(), a.stopCommand(), a.startCommand(), a.maintenanceCommand(), a.pruneCommand())
	a.add(root, groupHost, a.agentCommand(), a.tryCommand(), a.versionCommand())
	root.AddCommand(a.loadCommand())
	root.AddCommand(laterCommands()...)
	return root
}

func (a *app) add(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

func (a *app) globalFlags(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.StringVar(&a.socket, "socket", orElse(os.Getenv("REMORA_SOCKET"), api.DefaultSocket), "the agent's socket; also $REMORA_SOCKET")
	flags.StringVarP(&a.output, "output", "o", "table", "table, wide, json or yaml")
	flags.StringSliceVar(&a.hosts, "host", nil, "")
	flags.BoolVarP(&a.allHosts, "all-hosts", "A", false, "")
	for _, later := range []string{"host", "all-hosts"} {
		_ = flags.MarkHidden(later)
	}
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "wide", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
}

// begin runs before every command.
func (a *app) begin(*cobra.Command, []string) error {
	switch a.output {
	case "table", "wide", "json", "yaml":
	default:
		return usage("-o %s: write table, wide, json or yaml", a.output)
	}
	if a.allHosts || len(a.hosts) > 0 {
		return usage("other hosts (--host, -A) are not in this version; run the command on the host itself, such as: ssh HOST remora …")
	}
	a.began = true
	a.client = api.NewClient(a.socket, os.Getenv("SUDO_USER"))
	return nil
}

// untilInterrupted makes an interrupt the good end of what only it ends.
func untilInterrupted(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// exactly wants n arguments, described as in the command's usage line.
func exactly(n int) cobra.PositionalArgs { return between(n, n) }

func between(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usage("too few arguments; usage: %s\nsee: %s --help", c.UseLine(), c.CommandPath())
		case most >= 0 && len(args) > most:
			return usage("too many arguments: %q; usage: %s", args[most:], c.UseLine())
		}
		return nil
	}
}
