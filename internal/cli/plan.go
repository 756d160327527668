package cli

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/remorahq/remora/internal/status"
)

// planFlags say what is planned or rendered.
func planFlags(c *cobra.Command, req *status.PlanRequest) {
	c.Flags().StringVar(&req.Folder, "path", "", "a folder as it is on this host, instead of the repository")
	c.Flags().StringVar(&req.Revision, "rev", "", "another revision of the repository (not in this version: check it out, use --path)")
	c.Flags().StringVar(&req.Source, "source", "", "one of the host's sources, where there are several")
	c.MarkFlagsMutuallyExclusive("path", "rev")
}

// completeRequest adds what the arguments say.
func completeRequest(req *status.PlanRequest, args []string) error {
	if len(args) == 1 {
		req.App = args[0]
	}
	if req.Folder == "" {
		return nil
	}
	folder, err := filepath.Abs(req.Folder)
	if err != nil {
		return usage("--path %s: %w", req.Folder, err)
	}
	req.Folder = folder
	return nil
}

func (a *app) planCommand() *cobra.Command {
	var req status.PlanRequest
	var exitCode bool
	c := &cobra.Command{
		Use:   "plan [APP]",
		Short: "what would change, each step with its cause",
		Long: `Asks the agent what the repository's newest revision, another one, or a local
folder would change on this host. Nothing is changed.

Exits 0; with --exit-code 0 when nothing would change, 1 when something would,
2 when there are errors.`,
		Example: `  remora plan
  remora plan shop --path .       what my working copy would change
  remora plan --path . --exit-code`,
		Args:              between(0, 1),
		ValidArgsFunction: a.completeApps,
		RunE: func(c *cobra.Command, args []string) error {
			if err := completeRequest(&req, args); err != nil {
				return err
			}
			plan, err := a.client.Plan(c.Context(), req)
			if err == nil && req.App != "" && len(plan.Apps)+len(plan.Diagnostics) == 0 {
				err = notInPlan(req.App)
			}
			if err != nil {
				return planExit(exitCode, err)
			}
			done, err := a.structured(plan)
			if err != nil {
				return planExit(exitCode, err)
			}
			if !done {
				a.screen.print(planLines(plan, a.screen.style))
			}
			return planResult(plan, exitCode)
		},
	}
	planFlags(c, &req)
	c.Flags().BoolVar(&exitCode, "exit-code", false, "exit 0 for no changes, 1 for changes, 2 for errors")
	return c
}

// notInPlan is the error for an app that what was asked about does not hold.
func notInPlan(name string) error {
	return &status.Error{
		Kind: status.NotFound, Message: fmt.Sprintf("no app %q is placed on this host there", name),
		Remedy: "`remora plan` without it lists all",
	}
}

func planExit(exitCode bool, err error) error {
	if exitCode {
		return &exitError{code: 2, err: err}
	}
	return err
}

// planResult is the exit code of a plan that could be made.
func planResult(p status.Plan, exitCode bool) error {
	changes, failed := false, len(p.Apps) == 0 && len(p.Diagnostics) > 0
	for _, app := range p.Apps {
		failed = failed || planFailed(app)
		for _, s := range app.Steps {
			changes = changes || s.Action != "keep"
		}
	}
	switch {
	case failed && exitCode:
		return &exitError{code: 2}
	case failed:
		return &exitError{code: exitFailed}
	case changes && exitCode:
		return &exitError{code: 1}
	}
	return nil
}

// planFailed says that an app could not be planned as the commit wants it.
func planFailed(a status.PlanApp) bool {
	switch a.Reason {
	case status.LoadFailed, status.PolicyDenied, status.NotInThisVersion, status.DecryptFailed, status.ImagePullFailed,
		status.VolumeInUse, status.VolumeMissing, status.PortConflict, status.RouteConflict, status.NameConflict, status.Foreign:
		return true
	}
	return false
}

func planLines(p status.Plan, s style) []string {
	out := []string{s.bold("plan for " + orElse(revision(p.Revision), "the folder"))}
	for _, d := range p.Diagnostics {
		out = append(out, s.busy("! ")+d)
	}
	changes := 0
	for _, app := range p.Apps {
		lines, n := planApp(app, s)
		out = append(out, lines...)
		changes += n
	}
	switch {
	case len(p.Apps) == 0 && len(p.Diagnostics) > 0:
		return append(out, s.bad("nothing could be planned"))
	case len(p.Apps) == 0:
		return append(out, "no app is placed on this host")
	case changes == 0 && slices.ContainsFunc(p.Apps, planFailed):
		return append(out, s.bad("nothing would change until the errors are mended"))
	case changes == 0:
		return append(out, "nothing would change")
	}
	return append(out, fmt.Sprintf("%d %s would be made", changes, plural(changes, "change")))
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

func planApp(a status.PlanApp, s style) (lines []string, changes int) {
	head := s.bold(a.App)
	if a.Reason != "" && !a.Reason.Open() {
		head += "  " + s.busy(string(a.Reason))
		if planFailed(a) {
			head = s.bold(a.App) + "  " + s.bad(string(a.Reason))
		}
	}
	lines = append(lines, head)
	for l := range strings.SplitSeq(a.Message, "\n") {
		if l != "" {
			lines = append(lines, "  "+l)
		}
	}
	t := table{noHeader: true, columns: []column{{}, {}, {}, {}}}
	var notes [][]string
	for _, step := range a.Steps {
		mark := cell{"  ►", s.busy}
		if step.Action == "keep" {
			mark = cell{"  ·", s.faint}
		} else {
			changes++
		}
		why := step.Cause
		if step.Order != "" {
			why += "  " + s.faint("("+step.Order+")")
		}
		t.rows = append(t.rows, []cell{mark, text(step.Object), text(step.Action), text(why)})
		notes = append(notes, step.Notes)
	}
	for i, l := range t.lines(unbounded) {
		lines = append(lines, l)
		for _, n := range notes[i] {
			lines = append(lines, "      "+s.bad("! ")+strings.TrimPrefix(n, "! "))
		}
	}
	return lines, changes
}
