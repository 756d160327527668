package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/remorahq/remora/internal/status"
)

func (a *app) statusCommand() *cobra.Command {
	var watch, check bool
	c := &cobra.Command{
		Use:   "status [APP[/SERVICE]]",
		Short: "what runs, what is wanted, and what needs you",
		Long: `Shows one row per service, those that need a person first.

RUNNING and WANTED are image tags. BACK is what going back to the former release
would cost now: instant, a time, pull, or never.`,
		Example: `  remora status
  remora status shop -w           follow one app
  remora status --check           exit 1 when something needs a person
  remora status -o wide
  remora status -o json | jq '.apps[].services[] | select(.reason=="RolledBack")'`,
		Args:              between(0, 1),
		ValidArgsFunction: a.completeApps,
		RunE: func(c *cobra.Command, args []string) error {
			s := statusRun{app: a, check: check}
			if len(args) == 1 {
				s.subject = args[0]
			}
			if watch {
				return untilInterrupted(s.watch(c.Context()))
			}
			return s.once(c.Context())
		},
	}
	c.Flags().BoolVarP(&watch, "watch", "w", false, "follow live until interrupted")
	c.Flags().BoolVar(&check, "check", false, "exit 1 when something needs a person")
	c.MarkFlagsMutuallyExclusive("watch", "check")
	return c
}

type statusRun struct {
	*app
	subject string
	check   bool
	// For try: the number of events below the table, and whether to say where
	// to connect.
	events int
	ports  bool
}

func (s *statusRun) once(ctx context.Context) error {
	host, err := s.client.Status(ctx)
	if err != nil {
		return err
	}
	if err := s.narrow(&host); err != nil {
		return err
	}
	done, err := s.structured(host)
	if err != nil {
		return err
	}
	if !done {
		s.screen.print(s.view(time.Now()).lines(host))
	}
	if s.check && needPerson(host) > 0 {
		return &exitError{code: exitFailed}
	}
	return nil
}

// needPerson counts what waits for a person in a status that may be narrowed.
func needPerson(h status.Host) int {
	if !h.Engine.Connected || !h.Ambassador.Connected {
		return h.NeedPerson + 1
	}
	return h.NeedPerson
}

// narrow leaves only the app and service that were asked for.
func (s *statusRun) narrow(h *status.Host) error {
	if s.subject == "" {
		return nil
	}
	sub, err := resolve(*h, s.subject)
	if err != nil {
		return err
	}
	var apps []status.App
	h.NeedPerson = 0
	for _, app := range h.Apps {
		if !status.MatchApp(sub.app, app.Environment, app.Name) {
			continue
		}
		if sub.service != "" {
			app.Services = only(app.Services, sub.service)
		}
		h.NeedPerson += countNeed(app)
		apps = append(apps, app)
	}
	h.Apps = apps
	return nil
}

func only(services []status.Service, name string) []status.Service {
	for _, s := range services {
		if s.Name == name {
			return []status.Service{s}
		}
	}
	return nil
}

func countNeed(a status.App) int {
	n, said := 0, false
	for _, s := range a.Services {
		said = said || s.Reason == a.Reason
		if e, _ := status.Explain(s.Reason); e.NeedsPerson {
			n++
		}
	}
	if e, _ := status.Explain(a.Reason); e.NeedsPerson && !said {
		n++
	}
	return n
}

func (s *statusRun) view(now time.Time) statusView {
	width, _ := s.screen.size()
	if s.screen.live {
		width-- // a full line would wrap on some terminals
	}
	return statusView{style: s.screen.style, now: now, width: width, wide: s.wide()}
}

// watch follows the status until ctx ends: drawn over on a terminal, else a
// line for each row that changes, or a JSON document for each change.
func (s *statusRun) watch(ctx context.Context) error {
	switch {
	case s.output == "json" || s.output == "yaml":
		return s.client.FollowStatus(ctx, func(h status.Host) error {
			if err := s.narrow(&h); err != nil {
				return err
			}
			return s.jsonLine(h)
		}, s.lost)
	case !s.screen.live:
		return s.watchLines(ctx)
	}
	return s.watchScreen(ctx)
}

func (s *statusRun) lost(err error) { fmt.Fprintf(s.err, "remora: %v; trying again\n", err) }

// watchLines prints each row when it is new or changes.
func (s *statusRun) watchLines(ctx context.Context) error {
	shown := map[string]string{}
	return s.followStatus(ctx, func(h status.Host) { s.printChanges(h, shown) }, s.lost)
}

// printChanges prints the rows that are not as they were shown last.
func (s *statusRun) printChanges(h status.Host, shown map[string]string) {
	for _, r := range s.view(time.Now()).rows(h) {
		line := changeLine(r)
		if shown[r.name] != line {
			shown[r.name] = line
			fmt.Fprintf(s.out, "%s  %s\n", time.Now().Format(time.TimeOnly), line)
		}
	}
}

// changeLine is a row without what changes by itself, its age.
func changeLine(r row) string {
	parts := []string{fmt.Sprintf("%-20s", r.name), r.state}
	for _, c := range r.cells[1:4] {
		if c.text != "" {
			parts = append(parts, c.text)
		}
	}
	return strings.TrimRight(strings.Join(append(parts, r.why), "  "), " ")
}
