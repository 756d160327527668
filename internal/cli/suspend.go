package cli

import "github.com/spf13/cobra"

func (a *app) suspendCommand() *cobra.Command {
	return a.changeCommand(change{
		verb: "suspend", whole: true, lasts: true,
		short: "stop reconciling an app; what runs goes on running",
		long: `While an app is suspended nothing is deployed, repaired or removed. Traffic goes
on. It ends by resume, or at --for.`,
		example: `  remora suspend shop --for 2h --reason "debugging on the host"`,
	})
}
