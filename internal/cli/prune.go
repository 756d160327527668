package cli

import (
	"github.com/spf13/cobra"

	"github.com/remorahq/remora/internal/status"
)

func (a *app) pruneCommand() *cobra.Command {
	cmd := status.Command{Verb: "prune"}
	c := &cobra.Command{
		Use:   "prune --confirm REV",
		Short: "let a commit remove a large part of what runs (PruneHeld)",
		Long: `A commit that removes more than half of more than three apps is held, in case it
was not meant. This lets one such commit through, once. Volumes always stay.`,
		Example: `  remora prune --confirm 67e2c98a --reason "the old shop is gone"`,
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if cmd.Confirm == "" {
				return usage("name the revision that was held: --confirm REV; `remora status` shows it")
			}
			return a.do(c.Context(), cmd)
		},
	}
	reasonFlag(c, &cmd)
	c.Flags().StringVar(&cmd.Confirm, "confirm", "", "the revision whose removals are meant")
	return c
}
