package cli

import (
	"github.com/spf13/cobra"

	"github.com/remorahq/remora/manifests/load"
)

// loadCommand is the process in which manifests are parsed: one request on
// standard input, one answer on standard output.
func (a *app) loadCommand() *cobra.Command {
	return &cobra.Command{
		Use: "load", Hidden: true, Args: exactly(0),
		Short: "parse manifests in a process of its own (internal)",
		RunE: func(c *cobra.Command, _ []string) error {
			if code := load.Main(c.Context(), a.in, a.out, a.err); code != exitOK {
				return &exitError{code: code}
			}
			return nil
		},
	}
}
