package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/remorahq/remora/internal/status"
)

// change describes a command that changes an app.
type change struct {
	verb, short, long, example string
	// whole says that it takes an app only, no service.
	whole bool
	// lasts says that the state lasts until something ends it, so that --for
	// makes sense.
	lasts bool
	// flags adds what only this command has.
	flags func(c *cobra.Command, cmd *status.Command)
}

func (a *app) changeCommand(ch change) *cobra.Command {
	cmd := status.Command{Verb: ch.verb}
	arg := "APP[/SERVICE]"
	if ch.whole {
		arg = "APP"
	}
	c := &cobra.Command{
		Use: ch.verb + " " + arg, Short: ch.short, Long: ch.long, Example: ch.example,
		Args:              exactly(1),
		ValidArgsFunction: a.completeApps,
		RunE: func(c *cobra.Command, args []string) error {
			sub, err := a.subject(c.Context(), args[0])
			if err != nil {
				return err
			}
			if ch.whole && sub.service != "" {
				return usage("%s takes a whole app: remora %s %s", ch.verb, ch.verb, sub.app)
			}
			cmd.App, cmd.Service = sub.app, sub.service
			return a.do(c.Context(), cmd)
		},
	}
	reasonFlag(c, &cmd)
	if ch.lasts {
		c.Flags().DurationVar(&cmd.For, "for", 0, "how long, such as 2h; without it until it is ended")
	}
	if ch.flags != nil {
		ch.flags(c, &cmd)
	}
	return c
}

func reasonFlag(c *cobra.Command, cmd *status.Command) {
	c.Flags().StringVar(&cmd.Reason, "reason", "", "why; kept with the event")
}

// do sends a command and prints the answer: what was done, and what ends the
// state that it made.
func (a *app) do(ctx context.Context, cmd status.Command) error {
	if cmd.For < 0 || (cmd.For > 0 && cmd.For < time.Second) {
		return usage("--for %s: write a time of a second or more", cmd.For)
	}
	answer, err := a.client.Do(ctx, cmd)
	if err != nil {
		return err
	}
	if done, err := a.structured(answer); done || err != nil {
		return err
	}
	s := a.screen
	fmt.Fprintln(a.out, s.good("✔ ")+answer.Message)
	if answer.Revert != "" {
		fmt.Fprintf(a.out, "  %s %s\n", s.faint("make it last:"), s.bold(answer.Revert))
	}
	if answer.Ends != "" {
		fmt.Fprintf(a.out, "  %s %s\n", s.faint("ends"), strings.TrimPrefix(answer.Ends, "ends "))
	}
	return nil
}
