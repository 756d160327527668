package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/remorahq/remora/internal/api"
	"github.com/remorahq/remora/internal/status"
)

// The exit codes of wait.
const (
	waitRolledBack  = 3
	waitSuperseded  = 4
	waitUnreachable = 5
	waitHeld        = 6
	waitTimeout     = 7
)

func (a *app) waitCommand() *cobra.Command {
	var rev, set string
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "wait APP (--rev REV | --set VAR=VALUE)",
		Short: "wait until a commit is live and healthy here; made for CI",
		Long: `Waits until a revision, or one that came after it, is live and healthy here, or
until a commit that sets a variable to that value is.

The last line says how it stands. Exit codes:
  0  live and healthy
  2  usage
  3  rolled back, or quarantined
  4  superseded: another value is wanted by now
  5  the agent cannot be reached
  6  held: frozen, pinned, suspended, or waiting for a person
  7  time-out`,
		Example: `  remora wait shop --rev 67e2c98a --timeout 10m
  remora set production/shop WEB_TAG=v44 --push && remora wait shop --set WEB_TAG=v44`,
		Args:              exactly(1),
		ValidArgsFunction: a.completeApps,
		RunE: func(c *cobra.Command, args []string) error {
			w := waiter{arg: args[0], rev: abbreviate(rev)}
			switch {
			case (rev == "") == (set == ""):
				return usage("write either --rev REV or --set VAR=VALUE")
			case rev != "" && (len(w.rev) < 7 || !isHex(w.rev)):
				return usage("--rev %s: write seven or more digits of a commit", rev)
			case set != "":
				name, value, ok := strings.Cut(set, "=")
				if !ok || name == "" {
					return usage("--set %s: write VAR=VALUE", set)
				}
				w.variable, w.value = name, value
			}
			return a.wait(c.Context(), &w, timeout)
		},
	}
	c.Flags().StringVar(&rev, "rev", "", "a commit; one that came after it counts, too")
	c.Flags().StringVar(&set, "set", "", "a variable and its value, such as WEB_TAG=v44")
	c.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "how long to wait")
	return c
}

// verdict is the end of waiting.
type verdict struct {
	code    int
	message string
}

// The pace of waiting: how often the agent is asked, how long it may be away
// to be restarted or upgraded, and how long a failure must stand, since a newer
// revision is in force a moment before its app is judged by it.
const (
	waitPoll   = 200 * time.Millisecond
	waitGrace  = 10 * time.Second
	waitSettle = 2 * time.Second
)

func (a *app) wait(ctx context.Context, w *waiter, timeout time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(waitPoll)
	defer tick.Stop()
	heard := time.Now()
	for {
		host, err := a.client.Status(bounded)
		unreachable, away := errors.AsType[*api.UnreachableError](err)
		switch {
		case err == nil:
			heard = time.Now()
			if v := w.settled(w.judge(host), heard); v != nil {
				return a.conclude(ctx, w, v)
			}
			a.progress(w)
		case away && (time.Since(heard) > waitGrace || errors.Is(err, fs.ErrPermission)):
			return a.conclude(ctx, w, &verdict{waitUnreachable, unreachable.Error()})
		case bounded.Err() == nil && !away && !starting(err):
			return err
		}
		select {
		case <-tick.C:
		case <-bounded.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return a.conclude(ctx, w, &verdict{waitTimeout, fmt.Sprintf("not live after %s", timeout)})
		}
	}
}

// starting says that the agent is there and will answer soon.
func starting(err error) bool {
	problem, ok := errors.AsType[*status.Error](err)
	return ok && problem.Kind == status.Unavailable
}

// progress says on standard error what is waited for, when that changes.
func (a *app) progress(w *waiter) {
	if w.now == w.told {
		return
	}
	w.told = w.now
	fmt.Fprintf(a.err, "%s %s\n", a.screen.faint("◎"), w.now)
}

// conclude prints the last line and returns the exit code.
func (a *app) conclude(ctx context.Context, w *waiter, v *verdict) error {
	sentence := v.message
	if v.code != exitOK && v.code != waitUnreachable && w.app != "" {
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if e, err := a.client.Explain(short, w.app); err == nil {
			sentence += heldSentence(e)
		}
	}
	mark := a.screen.good("✔ ")
	if v.code != exitOK {
		mark = a.screen.bad("✗ ")
	}
	fmt.Fprintln(a.out, mark+orElse(w.app, w.arg)+": "+oneLine(sentence))
	if v.code == exitOK {
		return nil
	}
	return &exitError{code: v.code}
}

// heldSentence is the gate that holds, in one line.
func heldSentence(e status.Explanation) string {
	for _, g := range e.Gates {
		if !g.OK {
			s := fmt.Sprintf("; %s: %s", orElse(string(g.Reason), g.Name), g.Message)
			if g.Next != "" {
				s += " → " + g.Next
			}
			return s
		}
	}
	return ""
}

// waiter judges one status after the other. It does no I/O.
type waiter struct {
	arg, rev, variable, value string
	// app is env/app, once known; wanted says that the value was wanted.
	app    string
	wanted bool
	// now is what is waited for; told what was last said.
	now, told string
	// inForce says that the revision was in force, or an ancestor of what is.
	inForce bool
	// failing is since when the verdict has been the same failure.
	failing time.Time
}

// settled returns a good verdict at once, a bad one when it has stood a while.
func (w *waiter) settled(v *verdict, now time.Time) *verdict {
	switch {
	case v == nil:
		w.failing = time.Time{}
		return nil
	case v.code == exitOK || v.code == exitUsage:
		return v
	case w.failing.IsZero():
		w.failing = now
	}
	if now.Sub(w.failing) < waitSettle {
		return nil
	}
	return v
}

// judge returns the verdict, or nil while there is none.
func (w *waiter) judge(h status.Host) *verdict {
	sub, err := resolve(h, w.arg)
	problem, unknown := errors.AsType[*status.Error](err)
	switch {
	case unknown && problem.Kind == status.NotFound:
		w.now = strings.TrimSuffix("no app "+w.arg+" here yet; "+problem.Remedy, "; ")
		return nil
	case err != nil:
		return &verdict{exitUsage, err.Error()}
	}
	w.app = sub.app
	for _, a := range h.Apps {
		if status.MatchApp(sub.app, a.Environment, a.Name) {
			if w.variable != "" {
				return w.judgeValue(a)
			}
			return w.judgeRevision(a, sourceOf(h, a))
		}
	}
	return nil
}

func sourceOf(h status.Host, a status.App) status.Source {
	for _, s := range h.Sources {
		if s.Name == a.Source && (s.Environment == "" || s.Environment == a.Environment) {
			return s
		}
	}
	return status.Source{}
}

// judgeRevision waits until the revision is in force, and then for the app.
func (w *waiter) judgeRevision(a status.App, src status.Source) *verdict {
	if sameRevision(src.Revision, w.rev) || slices.ContainsFunc(src.History, func(sha string) bool { return strings.HasPrefix(sha, w.rev) }) {
		w.inForce = true
	}
	if !w.inForce {
		w.now = fmt.Sprintf("%s is not here yet; in force is %s", w.rev, revision(src.Revision))
		return nil
	}
	w.now = describe(a)
	judged := orElse(a.Judged, a.Revision)
	if !sameRevision(judged, digits(src.Revision)) {
		return nil
	}
	if a.Sync == status.Synced && a.Health == status.Healthy && a.Rollout == nil && a.Reason.Open() {
		return &verdict{exitOK, revision(src.Revision) + " is live and healthy"}
	}
	return stuck(a, a.Reason, a.Message)
}

// sameRevision compares main@sha1:67e2c98a with the digits of a commit.
func sameRevision(revision, want string) bool {
	sha := digits(revision)
	return want != "" && sha != "" && (strings.HasPrefix(sha, want) || strings.HasPrefix(want, sha))
}

// digits are those of the commit in main@sha1:67e2c98a.
func digits(revision string) string {
	if i := strings.LastIndexAny(revision, "@:"); i >= 0 {
		revision = revision[i+1:]
	}
	return abbreviate(revision)
}

// judgeValue waits until the app is loaded with the variable's value, and then
// for the app.
func (w *waiter) judgeValue(a status.App) *verdict {
	set := w.variable + "=" + w.value
	if a.Variables[w.variable] != status.HashVariable(w.value) {
		if w.wanted {
			return &verdict{waitSuperseded, set + " is no longer wanted"}
		}
		w.now = set + " is not wanted yet"
		return nil
	}
	w.wanted, w.now = true, describe(a)
	if a.Sync == status.Synced && a.Health == status.Healthy && a.Rollout == nil && a.Reason.Open() {
		return &verdict{exitOK, set + " is live and healthy"}
	}
	return stuck(a, a.Reason, a.Message)
}

// stuck is the verdict on a reason that does not pass by itself.
func stuck(a status.App, r status.Reason, message string) *verdict {
	if a.Rollout != nil {
		return nil
	}
	switch r {
	case status.RolledBack, status.Quarantined, status.HealthCheckFailed, status.JobFailed, status.StatefulNotRolledBack:
		return &verdict{waitRolledBack, string(r) + ": " + message}
	case status.Frozen, status.WaitingForWindow, status.FleetHalted:
		return &verdict{waitHeld, string(r) + ": " + message}
	}
	if e, ok := status.Explain(r); ok && e.NeedsPerson {
		return &verdict{waitHeld, string(r) + ": " + orElse(message, e.Meaning)}
	}
	return nil
}

func describe(a status.App) string {
	s := fmt.Sprintf("%s %s", a.Name, orElse(string(a.Reason), string(a.Health)))
	if a.Rollout != nil {
		s += ": " + rolloutWhy(a.Rollout)
	} else if a.Message != "" {
		s += ": " + oneLine(a.Message)
	}
	return s
}
