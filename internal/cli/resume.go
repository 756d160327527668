package cli

import "github.com/spf13/cobra"

func (a *app) resumeCommand() *cobra.Command {
	return a.changeCommand(change{
		verb: "resume", whole: true,
		short:   "end a suspend",
		example: `  remora resume shop`,
	})
}
