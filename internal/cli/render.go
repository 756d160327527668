package cli

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/remorahq/remora/internal/status"
)

func (a *app) renderCommand() *cobra.Command {
	var req status.PlanRequest
	c := &cobra.Command{
		Use:   "render [APP]",
		Short: "the exact create payloads that the engine would get",
		Long: `Prints what the engine's create call would be given for every container, after
interpolation, with everything that remora adds. JSON unless -o yaml.`,
		Example: `  remora render shop
  remora render --path . -o yaml
  remora render shop | jq '.[].body.HostConfig.Mounts'`,
		Args:              between(0, 1),
		ValidArgsFunction: a.completeApps,
		RunE: func(c *cobra.Command, args []string) error {
			if err := completeRequest(&req, args); err != nil {
				return err
			}
			payloads, err := a.client.Render(c.Context(), req)
			if err != nil {
				return err
			}
			if req.App != "" && len(payloads) == 0 {
				return notInPlan(req.App)
			}
			if payloads == nil {
				payloads = []json.RawMessage{}
			}
			if a.output == "yaml" {
				return writeYAML(a.out, payloads)
			}
			return writeJSON(a.out, payloads)
		},
	}
	planFlags(c, &req)
	return c
}
