package cli

import (
	"github.com/spf13/cobra"

	"github.com/remorahq/remora/internal/status"
)

func (a *app) maintenanceCommand() *cobra.Command {
	cmd := status.Command{Verb: "maintenance"}
	c := &cobra.Command{
		Use:   "maintenance APP[/SERVICE] on|off",
		Short: "show visitors a page instead of an app or service",
		Long: `Answers new requests with a page (503) that says when to come back, and your
message. Requests in flight finish, containers run on, and commits are deployed
behind it. New TCP connections are refused. It ends by off, or at --for, and
outlasts restarts of the agent and of the host.`,
		Example: `  remora maintenance shop on --message "We move house. Back at noon." --for 1h --reason "database upgrade"
  remora maintenance shop/web on
  remora maintenance shop off`,
		Args: exactly(2),
		ValidArgsFunction: func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return []string{"on", "off"}, cobra.ShellCompDirectiveNoFileComp
			}
			return a.completeApps(c, args, word)
		},
		RunE: func(c *cobra.Command, args []string) error {
			sub, err := a.subject(c.Context(), args[0])
			if err != nil {
				return err
			}
			switch args[1] {
			case "on":
			case "off":
				if cmd.Off = true; cmd.Notice != "" || cmd.For != 0 {
					return usage("--message and --for belong to on")
				}
			default:
				return usage("maintenance %s %s: say on or off", args[0], args[1])
			}
			cmd.App, cmd.Service = sub.app, sub.service
			return a.do(c.Context(), cmd)
		},
	}
	reasonFlag(c, &cmd)
	c.Flags().StringVar(&cmd.Notice, "message", "", "what visitors read")
	c.Flags().DurationVar(&cmd.For, "for", 0, "how long, such as 1h; without it until off")
	return c
}
