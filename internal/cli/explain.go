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

func (a *app) explainCommand() *cobra.Command {
	var reasons bool
	c := &cobra.Command{
		Use:   "explain APP|URL|CONTAINER",
		Short: "why is my change not live? the chain from commit to traffic",
		Long: `Prints one line for each gate between commit and traffic, and stops at the
first that holds: since when, who can change it, and the command.

Exits 0 when what is wanted is live, 1 when it is not.`,
		Example: `  remora explain shop
  remora explain http://shop.example.com/cart
  remora explain shop-web-1
  remora explain --reasons        every reason there is, with meaning and remedy`,
		Args: func(c *cobra.Command, args []string) error {
			if reasons {
				return between(0, 0)(c, args)
			}
			return exactly(1)(c, args)
		},
		ValidArgsFunction: a.completeApps,
		RunE: func(c *cobra.Command, args []string) error {
			if reasons {
				return a.reasonTable()
			}
			e, err := a.explain(c.Context(), args[0])
			if err != nil {
				return err
			}
			done, err := a.structured(e)
			if err != nil {
				return err
			}
			if !done {
				a.screen.print(explainLines(e, a.screen.style, time.Now()))
			}
			if !e.Live {
				return &exitError{code: exitFailed}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&reasons, "reasons", false, "list every reason, the gate it holds at, its meaning and its remedy")
	return c
}

// explain asks the agent, with a better answer than its own where the argument
// names nothing: a name may be a container's, which only the agent knows.
func (a *app) explain(ctx context.Context, what string) (status.Explanation, error) {
	e, err := a.client.Explain(ctx, what)
	problem, ok := errors.AsType[*status.Error](err)
	switch {
	case strings.Contains(what, "://"):
		return e, err
	case err == nil && strings.Contains(what, "/"), ok && problem.Kind == status.NotFound:
		if _, wrong := a.subject(ctx, what); wrong != nil {
			return e, wrong
		}
	}
	return e, err
}

// explainLines is the chain up to the first gate that holds.
func explainLines(e status.Explanation, s style, now time.Time) []string {
	out := []string{}
	if e.Want != "" || e.Have != "" {
		line := fmt.Sprintf("%s %s     %s %s", s.faint("want"), orElse(revision(e.Want), "–"), s.faint("have"), orElse(revision(e.Have), "–"))
		if e.Live && e.Want != e.Have {
			line += s.faint(", and nothing that it uses changed since")
		}
		out = append(out, line)
	}
	wide := 0
	for _, g := range e.Gates {
		wide = max(wide, visible(g.Name))
	}
	for _, g := range e.Gates {
		name := g.Name + strings.Repeat(" ", wide-visible(g.Name))
		if g.OK {
			out = append(out, strings.TrimRight(s.good("✔ ")+name+"  "+s.faint(oneLine(g.Message)), " "))
			continue
		}
		return append(out, heldLines(g, name, s, now)...)
	}
	if e.Live {
		return append(out, s.good("live"))
	}
	return append(out, s.busy("not live yet"))
}

// heldLines are those of a gate that holds: why, since when, who, what next.
func heldLines(g status.Gate, name string, s style, now time.Time) []string {
	why := string(g.Reason)
	if since := ago(g.Since, now); since != "" {
		why += " for " + since
	}
	message := strings.Split(strings.TrimSpace(orElse(g.Message, why)), "\n")
	out := []string{s.bad("✗ "+name) + "  " + s.bad(why) + ": " + message[0]}
	for _, more := range message[1:] {
		out = append(out, "    "+more)
	}
	if g.Who != "" {
		out = append(out, "  "+s.faint("who   ")+g.Who)
	}
	if g.Next != "" {
		out = append(out, "  "+s.faint("next  ")+g.Next)
	}
	return out
}

func (a *app) reasonTable() error {
	entries := status.Reasons()
	if done, err := a.structured(entries); done || err != nil {
		return err
	}
	gate := map[status.Reason]string{}
	for _, row := range status.Gates() {
		for _, r := range row.Holds {
			gate[r] = row.Name
		}
	}
	for _, e := range entries {
		mark := " "
		if e.NeedsPerson {
			mark = a.screen.bad("!")
		}
		fmt.Fprintf(a.out, "%s %s %s\n    %s\n    %s %s\n", mark, a.screen.bold(string(e.Reason)),
			a.screen.faint("("+gate[e.Reason]+")"), e.Meaning, a.screen.faint("→"), e.Remedy)
	}
	return nil
}
