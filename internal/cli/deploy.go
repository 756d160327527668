package cli

import "github.com/spf13/cobra"

func (a *app) deployCommand() *cobra.Command {
	return a.changeCommand(change{
		verb: "deploy", whole: true,
		short: "reconcile one app now",
		long: `Fetches the repository and rolls out what it wants of one app, now. What is
quarantined or pinned stays so: see retry and unpin.`,
		example: `  remora deploy shop
  remora deploy production/shop --reason "hotfix, see ticket 4711"`,
	})
}
