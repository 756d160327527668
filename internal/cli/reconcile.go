package cli

import (
	"github.com/spf13/cobra"

	"github.com/remorahq/remora/internal/status"
)

func (a *app) reconcileCommand() *cobra.Command {
	cmd := status.Command{Verb: "reconcile"}
	c := &cobra.Command{
		Use:   "reconcile [SOURCE]",
		Short: "look at the repository now instead of at the next poll",
		Example: `  remora reconcile
  remora reconcile && remora wait shop --set WEB_TAG=v44`,
		Args: between(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				cmd.Source = args[0]
			}
			return a.do(c.Context(), cmd)
		},
	}
	reasonFlag(c, &cmd)
	return c
}
