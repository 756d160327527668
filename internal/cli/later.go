package cli

import (
	"github.com/spf13/cobra"
)

// laterCommands are those that remora will have. They are not in the help, but
// whoever types one learns that it is no misspelling.
func laterCommands() []*cobra.Command {
	var out []*cobra.Command
	for _, name := range []string{
		"hosts", "rollout", "doctor", "volumes", "images", "exec", "run", "promote", "freeze", "unfreeze",
		"drain", "undrain", "init", "install", "import", "export", "adopt", "uninstall",
	} {
		out = append(out, &cobra.Command{
			Use:                name,
			Hidden:             true,
			DisableFlagParsing: true,
			RunE: func(*cobra.Command, []string) error {
				return usage("`remora %s` is not in this version", name)
			},
		})
	}
	return out
}
