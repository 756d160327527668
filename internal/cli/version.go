package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/remorahq/remora/internal/api"
	"github.com/remorahq/remora/internal/version"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "the version of this program, and of the agent that runs",
		Example: `  remora version
  remora version -o json`,
		Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), 2*time.Second)
			defer cancel()
			out := struct {
				version.Info
				Agent *api.Version `json:"agent,omitempty"`
			}{Info: version.Get()}
			agent, err := a.client.Version(ctx)
			if err == nil {
				out.Agent = &agent
			}
			if done, err := a.structured(out); done || err != nil {
				return err
			}
			fmt.Fprintf(a.out, "remora %s (%s, %s)\n", out.Version, abbreviate(out.Commit), out.Go)
			if err == nil {
				fmt.Fprintf(a.out, "agent  %s at %s\n", agent.Version, a.socket)
			}
			return nil
		},
	}
}
