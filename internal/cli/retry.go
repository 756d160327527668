package cli

import (
	"github.com/spf13/cobra"

	"github.com/remorahq/remora/internal/status"
)

func (a *app) retryCommand() *cobra.Command {
	return a.changeCommand(change{
		verb:  "retry",
		short: "try a release again that failed here, or a wait that is over",
		long: `Takes a release out of quarantine and rolls it out again; for an app that waits
to be tried again, tries now.`,
		example: `  remora retry shop
  remora retry shop/web --reason "the mail server is back"
  remora retry shop --create-volumes      start on new, empty volumes although older ones exist`,
		flags: func(c *cobra.Command, cmd *status.Command) {
			c.Flags().BoolVar(&cmd.CreateVolumes, "create-volumes", false, "create the empty volumes that VolumeMissing warns of")
		},
	})
}
