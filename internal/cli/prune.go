package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/remorahq/remora/internal/status"
)

func (a *app) pruneCommand() *cobra.Command {
	cmd := status.Command{Verb: "prune"}
	c := &cobra.Command{
		Use:   "prune --confirm REV",
		Short: "let a commit remove a large part of what runs (PruneHeld)",
		Long: `A commit that removes more than half of more than three apps is held, in case it
was not meant. This lets one such commit through, once. Volumes always stay.`,
		Example: `  remora prune --confirm 67e2c98a --reason "the old shop is gone"`,
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if cmd.Confirm == "" {
				return usage("name the revision that was held: --confirm REV; `remora status` shows it")
			}
			rev, err := a.inForce(c.Context(), cmd.Confirm)
			if err != nil {
				return err
			}
			cmd.Confirm = rev
			return a.do(c.Context(), cmd)
		},
	}
	reasonFlag(c, &cmd)
	c.Flags().StringVar(&cmd.Confirm, "confirm", "", "the revision whose removals are meant")
	return c
}

// inForce is the revision of a source, as the agent calls it, that begins with
// the digits of rev: confirming one that is not held would change nothing.
func (a *app) inForce(ctx context.Context, rev string) (string, error) {
	want := digits(rev)
	if len(want) < 7 || !isHex(want) {
		return "", usage("--confirm %s: write seven or more digits of a commit", rev)
	}
	host, err := a.client.Status(ctx)
	if err != nil {
		return "", err
	}
	var known []string
	for _, s := range host.Sources {
		for _, held := range []string{s.Revision, s.Latest} {
			if sameRevision(held, want) {
				return held, nil
			}
			if held = revision(held); held != "" && !slices.Contains(known, held) {
				known = append(known, held)
			}
		}
	}
	return "", &status.Error{
		Kind: status.NotFound, Message: fmt.Sprintf("no source of this host is at %s", rev),
		Remedy: "here are: " + strings.Join(known, ", "),
	}
}
