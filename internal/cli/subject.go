package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/remorahq/remora/internal/status"
)

// subject is what an argument APP[/SERVICE] names.
type subject struct {
	app     string // "env/app", or as written where the agent does not have it
	service string
}

// resolve finds what arg names: app, app/service, env/app or env/app/service.
// An app that is not on this host is left for the agent to judge.
func resolve(h status.Host, arg string) (subject, error) {
	var found []subject
	for _, a := range h.Apps {
		id := a.Environment + "/" + a.Name
		if arg == a.Name || arg == id {
			found = append(found, subject{app: id})
		}
		for _, s := range a.Services {
			if arg == a.Name+"/"+s.Name || arg == id+"/"+s.Name {
				found = append(found, subject{app: id, service: s.Name})
			}
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return guess(h, arg)
	}
	names := make([]string, len(found))
	for i, s := range found {
		names[i] = strings.TrimRight(s.app+"/"+s.service, "/")
	}
	return subject{}, usage("%q names several: %s; write one of them", arg, strings.Join(names, ", "))
}

// guess tells a wrong service from a wrong app.
func guess(h status.Host, arg string) (subject, error) {
	first, rest, nested := strings.Cut(arg, "/")
	if arg == "" || strings.Count(arg, "/") > 2 {
		return subject{}, usage("%q is no APP[/SERVICE]", arg)
	}
	for _, a := range h.Apps {
		if nested && first == a.Name {
			return subject{}, noService(a, rest)
		}
		if env, app, ok := strings.Cut(rest, "/"); nested && ok && first == a.Environment && env == a.Name {
			return subject{}, noService(a, app)
		}
	}
	problem := &status.Error{Kind: status.NotFound, Message: fmt.Sprintf("no app %q on this host", arg)}
	var names []string
	for _, a := range h.Apps {
		names = append(names, a.Name)
	}
	if len(names) > 0 {
		problem.Remedy = didYouMean(first, names) + "here are: " + strings.Join(names, ", ")
	}
	return subject{}, problem
}

func noService(a status.App, service string) error {
	var names []string
	for _, s := range a.Services {
		names = append(names, s.Name)
	}
	return &status.Error{
		Kind: status.NotFound, Message: fmt.Sprintf("%s has no service %q", a.Name, service),
		Remedy: didYouMean(service, names) + "it has: " + strings.Join(names, ", "),
	}
}

// didYouMean suggests the name that differs in two letters at most, or nothing.
func didYouMean(word string, names []string) string {
	best, least := "", 3
	for _, name := range names {
		if d := edits(word, name); d < least && d < len(name) {
			best, least = name, d
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + best + "? "
}

// edits returns how many letters must change, come or go to turn a into b, two
// that change places counted as one.
func edits(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			next[j+1] = min(next[j], last[j+1]) + 1
			if a[i] == b[j] {
				next[j+1] = min(next[j+1], last[j])
			} else {
				next[j+1] = min(next[j+1], last[j]+1)
			}
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, last = last, next
	}
	return last[len(b)]
}

// subject asks the agent what arg names.
func (a *app) subject(ctx context.Context, arg string) (subject, error) {
	host, err := a.client.Status(ctx)
	if err != nil {
		return subject{}, err
	}
	return resolve(host, arg)
}

// completeApps offers the apps and services of the host to the shell.
func (a *app) completeApps(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if err := a.begin(c, nil); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	ctx, cancel := context.WithTimeout(c.Context(), 2*time.Second)
	defer cancel()
	host, err := a.client.Status(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, app := range host.Apps {
		names = append(names, app.Name)
		for _, s := range app.Services {
			names = append(names, app.Name+"/"+s.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
