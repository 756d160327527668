package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/remorahq/remora/internal/status"
)

func (a *app) routesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "routes",
		Short: "what the ambassador listens for and where it leads",
		Example: `  remora routes
  remora routes -o wide           with counters
  remora routes -o json`,
		Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			rows, err := a.client.Routes(c.Context())
			if err != nil {
				return err
			}
			if done, err := a.structured(rows); done || err != nil {
				return err
			}
			a.screen.print(a.routeLines(rows))
			return nil
		},
	}
}

func (a *app) routeLines(rows []status.RouteRow) []string {
	if len(rows) == 0 {
		return []string{"the ambassador listens for nothing"}
	}
	t := table{header: a.screen.bold, columns: []column{{name: "LISTEN"}, {name: "HOST/PATH"}, {name: "SERVICE"}, {name: "RELEASE"}, {name: "INFLIGHT", right: true}}}
	if a.wide() {
		t.columns = append(t.columns, column{name: "TUNNELS", right: true}, column{name: "REQUESTS", right: true}, column{name: "ERRORS", right: true})
	}
	t.columns = append(t.columns, column{name: "STATE"})
	for _, r := range rows {
		paint := a.screen.good
		if r.State != "serving" {
			paint = a.screen.busy
		}
		if strings.HasPrefix(r.State, "failed") || r.State == "no endpoint" {
			paint = a.screen.bad
		}
		cells := []cell{
			text(r.Listen + " " + r.Protocol), text(orElse(r.Host+r.Path, "any")), text(fmt.Sprintf("%s:%d", r.Service, r.Port)),
			text(tag(r.Release)), text(fmt.Sprint(r.Inflight)),
		}
		if a.wide() {
			cells = append(cells, text(fmt.Sprint(r.Tunnels)), text(fmt.Sprint(r.Requests)), text(fmt.Sprint(r.Errors)))
		}
		t.rows = append(t.rows, append(cells, cell{r.State, paint}))
	}
	width, _ := a.screen.size()
	return t.lines(width)
}
