package cli

import "github.com/spf13/cobra"

func (a *app) startCommand() *cobra.Command {
	return a.changeCommand(change{
		verb:    "start",
		short:   "start what was stopped by hand",
		example: `  remora start shop/worker`,
	})
}
