// Package command is the command line of remora-ambassador: the holder, the
// worker that the holder starts, and a few calls of the control API. It holds
// no logic of its own.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/remorahq/remora/ambassador"
	"github.com/remorahq/remora/ambassador/control"
	"github.com/remorahq/remora/ambassador/holder"
	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/internal/units"
)

const help = `remora-ambassador carries all traffic of a host to the containers that remora
runs, and moves it between releases without losing a request. The agent tells
it what to serve; without the agent it goes on with its last table.

Usage:
  remora-ambassador [flags]           hold the listeners, run the worker
  remora-ambassador status [flags]    what is served, release by release
  remora-ambassador table [flags]     the table in force, as JSON
  remora-ambassador certificates [flags]  what certificates there are, and until when
  remora-ambassador metrics [flags]   metrics in Prometheus' text form
  remora-ambassador explain URL [flags]   what would become of a request, and why
  remora-ambassador access-log [flags]    the last requests and tunnels that ended
  remora-ambassador upgrade [flags]   go over to the program's file as it is now,
                                      without losing a request
  remora-ambassador unit              print a unit file for systemd
  remora-ambassador version

Flags:
  --run DIR      folder of the control socket (default /run/remora)
  --state DIR    folder of the table and the certificates (default /var/lib/remora/ambassador)
  --user USER    whom the worker runs as: a name, uid or uid:gid
                 (default nobody when started by root; "root" keeps root)
  --drain-limit D   how long a former worker may keep WebSockets and other
                 tunnels after an upgrade (default 1h); then it ends them
                 cleanly, spread over 30 s
  --max-draining N  how many former workers may live (default 4); of more, the
                 oldest ends its tunnels
  --log-format   text or json (default text)
  --log-level    debug, info, warn or error (default info)
  -o FORMAT      of status, certificates and explain: table or json (default table);
                 of access-log: json or combined (default as it is written)
  -f             access-log goes on with what comes
  -n LINES       how many lines access-log begins with (default 20, -1 all)

Signals:
  SIGHUP         as upgrade, without waiting for it
  SIGTERM        finish requests in flight for up to 10 s, then end

Examples:
  remora-ambassador --run /run/remora --state /var/lib/remora/ambassador
  remora-ambassador status -o json
  remora-ambassador explain https://shop.example.com/cart
  remora-ambassador access-log -f -o combined
  kill -HUP $(pidof -s remora-ambassador)
`

type options struct {
	run, state, user, logFormat, logLevel, output string
	holderUID                                     uint
	drainLimit                                    time.Duration
	maxDraining                                   int
	url                                           string
	follow                                        bool
	lines                                         int
}

// Main runs the program with its arguments and returns its exit code.
func Main(ctx context.Context, version string, args []string, stdout, stderr io.Writer) int {
	verb := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		verb, args = args[0], args[1:]
	}
	url := ""
	if verb == "explain" && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		url, args = args[0], args[1:]
	}
	opt, err := parse(args)
	opt.url = url
	if errors.Is(err, flag.ErrHelp) || verb == "help" {
		fmt.Fprint(stdout, help)
		return 0
	}
	if err == nil {
		err = run(ctx, version, verb, opt, stdout, stderr)
	}
	var usage *usageError
	switch {
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "remora-ambassador: %v; see remora-ambassador --help\n", err)
		return 2
	case err != nil:
		fmt.Fprintf(stderr, "remora-ambassador: %v%s\n", err, remedy(err))
		return 1
	}
	return 0
}

// remedy is what to do about a socket that does not answer.
func remedy(err error) string {
	op, ok := errors.AsType[*net.OpError](err)
	switch {
	case !ok || op.Op != "dial":
		return ""
	case errors.Is(err, fs.ErrPermission):
		return "; its socket is for root"
	}
	return "; does it run, and is --run its folder?"
}

type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// flags are all flags; they set o, which has their defaults then.
func flags(o *options) *flag.FlagSet {
	f := flag.NewFlagSet("remora-ambassador", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.run, "run", "/run/remora", "")
	f.StringVar(&o.state, "state", "/var/lib/remora/ambassador", "")
	f.StringVar(&o.user, "user", "nobody", "")
	f.StringVar(&o.logFormat, "log-format", "text", "")
	f.StringVar(&o.logLevel, "log-level", "info", "")
	f.StringVar(&o.output, "o", "table", "")
	f.UintVar(&o.holderUID, "holder-uid", 0, "")
	f.BoolVar(&o.follow, "f", false, "")
	f.IntVar(&o.lines, "n", 20, "")
	f.DurationVar(&o.drainLimit, "drain-limit", holder.DefaultDrainLimit, "")
	f.IntVar(&o.maxDraining, "max-draining", holder.DefaultMaxDraining, "")
	return f
}

func parse(args []string) (options, error) {
	var o options
	f := flags(&o)
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, &usageError{flagText(err)}
	}
	if f.NArg() > 0 {
		return o, &usageError{fmt.Sprintf("unexpected argument %q", f.Arg(0))}
	}
	if o.drainLimit <= 0 {
		return o, &usageError{fmt.Sprintf("--drain-limit %s is not above zero", o.drainLimit)}
	}
	if o.maxDraining <= 0 {
		return o, &usageError{fmt.Sprintf("--max-draining %d is not above zero", o.maxDraining)}
	}
	return o, nil
}

// flagText says what package flag says, with an example of a duration where one
// belongs.
func flagText(err error) string {
	text := err.Error()
	if strings.Contains(text, "flag -drain-limit") {
		text += "; a duration such as 1h or 90s"
	}
	return text
}

func run(ctx context.Context, version, verb string, o options, stdout, stderr io.Writer) error {
	log, err := logger(o, stderr)
	if err != nil {
		return err
	}
	client := control.NewClient(filepath.Join(o.run, "ambassador.sock"))
	defer client.Close()
	switch verb {
	case "":
		return holder.Run(ctx, holder.Config{
			RunDir: o.run, StateDir: o.state, User: o.user, Log: log,
			DrainLimit: o.drainLimit, MaxDraining: o.maxDraining,
			Args: []string{"worker", "--log-format", o.logFormat, "--log-level", o.logLevel, "--holder-uid", strconv.Itoa(os.Geteuid())},
		})
	case "worker":
		return ambassador.RunWorker(ctx, log, version, uint32(o.holderUID))
	case "version":
		fmt.Fprintln(stdout, version)
		return nil
	case "unit":
		fmt.Fprint(stdout, units.Ambassador)
		return nil
	case "status":
		return status(ctx, client, o.output, stdout)
	case "explain":
		return explain(ctx, client, o, stdout)
	case "access-log":
		return accessLog(ctx, o, stdout)
	case "table":
		t, err := client.Table(ctx)
		if err != nil {
			return err
		}
		return writeJSON(stdout, t)
	case "certificates":
		return certificates(ctx, client, o.output, stdout)
	case "metrics":
		text, err := client.Metrics(ctx)
		if err != nil {
			return err
		}
		_, err = stdout.Write(text)
		return err
	case "upgrade":
		return upgrade(ctx, client, stdout)
	}
	return &usageError{fmt.Sprintf("unknown command %q", verb)}
}

func logger(o options, w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return nil, &usageError{fmt.Sprintf("--log-level %q is not debug, info, warn or error", o.logLevel)}
	}
	ho := &slog.HandlerOptions{Level: level}
	switch o.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, ho)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, ho)), nil
	}
	return nil, &usageError{fmt.Sprintf("--log-format %q is not text or json", o.logFormat)}
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// upgrade says what serves afterwards.
func upgrade(ctx context.Context, c *control.Client, w io.Writer) error {
	if err := c.Upgrade(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := c.Report(ctx)
	if err != nil {
		return fmt.Errorf("upgraded, but: %w", err)
	}
	fmt.Fprintf(w, "version %s serves, former workers that finish what they have: %d\n", r.Version, r.Workers-1)
	return nil
}

func status(ctx context.Context, c *control.Client, output string, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := c.Report(ctx)
	switch {
	case err != nil:
		return err
	case output == "json":
		return writeJSON(w, r)
	case output != "table":
		return &usageError{fmt.Sprintf("-o %q is not table or json", output)}
	}
	return statusTable(w, r)
}

func statusTable(w io.Writer, r traffic.Report) error {
	fmt.Fprintf(w, "generation %d  workers %d  version %s", r.Generation, r.Workers, r.Version)
	if r.Fenced {
		fmt.Fprint(w, "  fenced: the host was restarted, waiting for the agent")
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "SERVICE\tRELEASE\tSTATE\tGOOD\tINFLIGHT\tTUNNELS\tREQUESTS\t5XX\tHELD\tWHY")
	for _, s := range r.Services {
		for _, rel := range s.Releases {
			good, why := 0, ""
			for _, e := range rel.Endpoints {
				if e.Good {
					good++
				} else if why = e.LastError; why == "" && rel.State == traffic.Active {
					why = "not checked yet"
				}
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%d/%d\t%d\t%d\t%d\t%d\t%d\t%s\n", s.Name, traffic.ShortRelease(rel.Name), rel.State, good, len(rel.Endpoints),
				rel.Inflight, rel.Tunnels, rel.Requests, rel.Errors5xx, s.Held, why)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, f := range r.Failures {
		fmt.Fprintf(w, "! %s port %d: %s\n", f.Owner, f.Port, f.Error)
	}
	for _, f := range r.Names {
		fmt.Fprintf(w, "! server name %q port %d refused: %s\n", f.Name, f.Port, f.Error)
	}
	return nil
}
