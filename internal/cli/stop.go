package cli

import "github.com/spf13/cobra"

func (a *app) stopCommand() *cobra.Command {
	return a.changeCommand(change{
		verb: "stop", lasts: true,
		short: "stop an app or service and keep it stopped",
		long: `Stops the containers and leaves them; nothing repairs them until start, or until
--for is over.`,
		example: `  remora stop shop/worker --for 2h --reason "queue is being moved"
  remora stop shop`,
	})
}
