package cli

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/remorahq/remora/internal/status"
)

func (a *app) historyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "history APP",
		Short: "the rollouts of an app and how they ended",
		Example: `  remora history shop
  remora history shop -o json`,
		Args:              exactly(1),
		ValidArgsFunction: a.completeApps,
		RunE: func(c *cobra.Command, args []string) error {
			entries, err := a.client.History(c.Context(), args[0])
			if err != nil {
				return err
			}
			if done, err := a.structured(entries); done || err != nil {
				return err
			}
			a.screen.print(a.historyLines(entries, time.Now()))
			return nil
		},
	}
}

func (a *app) historyLines(entries []status.HistoryEntry, now time.Time) []string {
	if len(entries) == 0 {
		return []string{"no rollout of it is on record"}
	}
	t := table{header: a.screen.bold, columns: []column{
		{name: "TIME"}, {name: "REVISION"}, {name: "RESULT"}, {name: "TOOK", right: true}, {name: "RELEASES"}, {name: "BY"}, {name: "WHAT"},
	}}
	for _, e := range entries {
		var releases []string
		for _, name := range slices.Sorted(maps.Keys(e.Releases)) {
			releases = append(releases, name+" "+tag(e.Releases[name]))
		}
		paint := a.screen.good
		if entry, _ := status.Explain(e.Result); entry.NeedsPerson {
			paint = a.screen.bad
		} else if !e.Result.Open() {
			paint = a.screen.busy
		}
		t.rows = append(t.rows, []cell{
			text(moment(e.Time, now)), text(revision(e.Revision)),
			{string(e.Result), paint},
			text(e.Duration.Round(100 * time.Millisecond).String()), text(strings.Join(releases, ", ")),
			text(orElse(e.Actor.Name, e.Author)), text(oneLine(orElse(e.Message, e.Subject))),
		})
	}
	width, _ := a.screen.size()
	return t.lines(width)
}
