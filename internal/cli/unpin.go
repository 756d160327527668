package cli

import "github.com/spf13/cobra"

func (a *app) unpinCommand() *cobra.Command {
	return a.changeCommand(change{
		verb: "unpin", short: "end a rollback's pin: what the repository wants counts again",
		long: `Ends the pin of a rollback. The release that the rollback left stays in
quarantine: retry it, or commit another.`,
		example: `  remora unpin shop
  remora unpin shop --reason "the database is mended"`,
	})
}
