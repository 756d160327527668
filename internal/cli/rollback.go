package cli

import (
	"github.com/spf13/cobra"

	"github.com/remorahq/remora/internal/status"
)

func (a *app) rollbackCommand() *cobra.Command {
	return a.changeCommand(change{
		verb: "rollback", lasts: true,
		short: "go back to the former release and stay there",
		long: `Moves traffic back to the release before, or to another that ran here, and pins
it: the repository's release is quarantined on this host. The column BACK of
status says beforehand what that costs.

The pin ends when the repository wants another release, at --for, or by unpin.
Prints the git line that makes it last everywhere.`,
		example: `  remora rollback shop --reason "checkout answers 500"
  remora rollback shop/web --to v42
  remora rollback shop --to 67e2c98a --for 2h`,
		flags: func(c *cobra.Command, cmd *status.Command) {
			c.Flags().StringVar(&cmd.To, "to", "", "a release (its tag or name) or a revision; default the one before")
		},
	})
}
