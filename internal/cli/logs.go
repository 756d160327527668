package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/remorahq/remora/internal/status"
)

func (a *app) logsCommand() *cobra.Command {
	var req status.LogRequest
	var since time.Duration
	c := &cobra.Command{
		Use:   "logs APP[/SERVICE]",
		Short: "output of the containers, also of those that failed",
		Example: `  remora logs shop/web -f
  remora logs shop --tail 100 --since 10m
  remora logs shop/web --failed               what the release that failed said last
  remora logs shop/web --failed --release v44`,
		Args:              exactly(1),
		ValidArgsFunction: a.completeApps,
		RunE: func(c *cobra.Command, args []string) error {
			if req.Failed && req.Follow {
				return usage("--failed shows what was kept of containers that are gone; there is nothing to follow")
			}
			sub, err := a.logSubject(c.Context(), args[0], req.Failed)
			if err != nil {
				return err
			}
			req.App, req.Service = sub.app, sub.service
			if since > 0 {
				req.Since = time.Now().Add(-since)
			}
			if req.Failed {
				return a.failedLogs(c.Context(), req)
			}
			out, end := a.foreign()
			err = errors.Join(a.client.Logs(c.Context(), req, out), end())
			if req.Follow {
				return untilInterrupted(err)
			}
			return err
		},
	}
	c.Flags().BoolVarP(&req.Follow, "follow", "f", false, "go on with what comes")
	c.Flags().BoolVar(&req.Failed, "failed", false, "what was kept of failed containers, the newest first")
	c.Flags().StringVar(&req.Release, "release", "", "of one release: its tag or name")
	c.Flags().IntVarP(&req.Tail, "tail", "n", -1, "last lines of each container; -1 is all")
	c.Flags().DurationVar(&since, "since", 0, "only the last time, such as 10m")
	return c
}

// logSubject also takes services that are gone, whose failures are kept.
func (a *app) logSubject(ctx context.Context, arg string, failed bool) (subject, error) {
	sub, err := a.subject(ctx, arg)
	problem, ok := errors.AsType[*status.Error](err)
	if !failed || !ok || problem.Kind != status.NotFound {
		return sub, err
	}
	app, service, _ := strings.Cut(arg, "/")
	return subject{app: app, service: service}, nil
}

func (a *app) failedLogs(ctx context.Context, req status.LogRequest) error {
	found, err := a.client.Failed(ctx, req)
	if err != nil {
		return err
	}
	if done, err := a.structured(found); done || err != nil {
		return err
	}
	if len(found) == 0 {
		fmt.Fprintln(a.out, "nothing is kept: no container of it failed here, or it was long ago")
		return nil
	}
	newest := found[:1]
	if req.Release != "" {
		newest = found
	}
	for _, ev := range newest {
		a.evidence(ev, req.Tail)
	}
	if more := len(found) - len(newest); more > 0 {
		fmt.Fprintln(a.err, a.screen.faint(fmt.Sprintf("older failures that are kept: %d; -o json shows all, --release TAG one", more)))
	}
	return nil
}

// evidence prints what is known of a failed container, then its output.
func (a *app) evidence(ev status.Evidence, tail int) {
	s := a.screen
	fmt.Fprintf(a.out, "%s %s/%s %s, %s ago: %s\n", s.bad("✗"), ev.App, ev.Service,
		orElse(ev.Tag, abbreviate(ev.Release)), ago(ev.Time, time.Now()), ev.Message)
	var facts []string
	if ev.ExitCode != 0 { // 0 is also of one that had not ended
		facts = append(facts, fmt.Sprintf("exit code %d", ev.ExitCode))
	}
	if ev.OOMKilled {
		facts = append(facts, "out of memory")
	}
	for _, f := range []struct{ name, value string }{{"health", ev.Health}, {"probe", ev.Probe}, {"container", ev.Name}, {"revision", revision(ev.Revision)}} {
		if f.value != "" {
			facts = append(facts, f.name+" "+f.value)
		}
	}
	fmt.Fprintln(a.out, s.faint("  "+strings.Join(facts, " · ")))
	if ev.HealthLog != "" {
		fmt.Fprintln(a.out, s.faint("  "+oneLine(ev.HealthLog)))
	}
	out, end := a.foreign()
	_, _ = out.Write(lastLines(ev.Output, tail))
	_ = end()
}

// lastLines is the end of output, with a newline at its end; a negative n is
// all of it.
func lastLines(output []byte, n int) []byte {
	output = bytes.TrimRight(output, "\n")
	if len(output) == 0 || n == 0 {
		return nil
	}
	lines := bytes.Split(output, []byte("\n"))
	if n > 0 && len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return append(bytes.Join(lines, []byte("\n")), '\n')
}
