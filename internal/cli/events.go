package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/remorahq/remora/internal/status"
)

func (a *app) eventsCommand() *cobra.Command {
	var follow bool
	var limit int
	var since time.Duration
	var reason string
	c := &cobra.Command{
		Use:   "events [APP[/SERVICE]]",
		Short: "what happened, one sentence each",
		Example: `  remora events
  remora events -f                follow
  remora events shop --since 1h
  remora events --reason RolledBack -o json`,
		Args:              between(0, 1),
		ValidArgsFunction: a.completeApps,
		RunE: func(c *cobra.Command, args []string) error {
			f, err := a.eventFilter(c.Context(), args, reason, since)
			if err != nil {
				return err
			}
			return a.events(c.Context(), f, limit, follow)
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens")
	c.Flags().IntVarP(&limit, "limit", "n", 50, "how many, the newest")
	c.Flags().DurationVar(&since, "since", 0, "only those of the last time, such as 1h")
	c.Flags().StringVar(&reason, "reason", "", "only those with a reason, such as RolledBack")
	return c
}

func (a *app) eventFilter(ctx context.Context, args []string, reason string, since time.Duration) (status.EventFilter, error) {
	f := status.EventFilter{Reason: status.Reason(reason)}
	if reason != "" {
		if _, ok := status.Explain(f.Reason); !ok {
			return f, usage("--reason %s: there is no such reason; `remora explain --reasons` lists them", reason)
		}
	}
	if since > 0 {
		f.Since = time.Now().Add(-since)
	}
	if len(args) == 0 {
		return f, nil
	}
	sub, err := a.subject(ctx, args[0])
	if problem, ok := errors.AsType[*status.Error](err); ok && problem.Kind == status.NotFound {
		// An app that is gone has events still.
		app, service, _ := strings.Cut(args[0], "/")
		f.App, f.Service = app, service
		return f, nil
	}
	f.App, f.Service = sub.app, sub.service
	return f, err
}

func (a *app) events(ctx context.Context, f status.EventFilter, limit int, follow bool) error {
	events, err := a.client.Events(ctx, f, limit)
	if err != nil {
		return err
	}
	if !follow {
		if done, err := a.structured(events); done || err != nil {
			return err
		}
	}
	if len(events) == 0 && a.output != "json" && a.output != "yaml" {
		fmt.Fprintln(a.err, a.screen.faint("no such event is on record"))
	}
	var last uint64
	for _, e := range events {
		last = e.ID
		if err := a.event(e); err != nil {
			return err
		}
	}
	if !follow {
		return nil
	}
	return untilInterrupted(a.client.FollowEvents(ctx, &last, f, a.event, func(err error) {
		fmt.Fprintf(a.err, "remora: %v; trying again\n", err)
	}))
}

func (a *app) event(e status.Event) error {
	if a.output == "json" || a.output == "yaml" {
		return a.jsonLine(e)
	}
	for _, line := range eventLines(e, a.screen.style, time.Now(), unbounded) {
		fmt.Fprintln(a.out, line)
	}
	return nil
}

// eventLines is an event as people read it: one line, and further ones where
// its sentence has several or does not fit the width.
func eventLines(e status.Event, s style, now time.Time, width int) []string {
	who := orElse(strings.Trim(e.App+"/"+e.Service, "/"), "host")
	paint := s.good
	switch e.Severity {
	case "error":
		paint = s.bad
	case "warning":
		paint = s.busy
	}
	at, reason := moment(e.Time, now), fmt.Sprintf("%-17s", e.Reason)
	line := fmt.Sprintf("%s  %-14s  %s  ", s.faint(at), who, paint(reason))
	const indent = "          "
	var out []string
	for text := range strings.SplitSeq(strings.TrimSpace(e.Message), "\n") {
		parts := []string{text}
		if visible(line)+visible(text) > width {
			parts = wrap(text, max(width-visible(line), leastLast))
		}
		out = append(out, line+parts[0])
		if rest := strings.TrimSpace(strings.TrimPrefix(oneLine(text), parts[0])); len(parts) > 1 {
			for _, more := range wrap(rest, max(width-len(indent), leastLast)) {
				out = append(out, indent+more)
			}
		}
		line = indent
	}
	if e.Actor.Kind != "remora" && e.Actor.Name != "" {
		out[0] += s.faint("  (" + e.Actor.Name + ")")
	}
	return out
}
