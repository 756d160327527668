package cli

import "github.com/spf13/cobra"

func (a *app) restartCommand() *cobra.Command {
	return a.changeCommand(change{
		verb:  "restart",
		short: "fresh containers of the same release, without losing a request",
		example: `  remora restart shop/web
  remora restart shop --reason "leaks memory"`,
	})
}
