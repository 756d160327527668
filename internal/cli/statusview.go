package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/status"
)

// statusView renders a host's status as `remora status` shows it.
type statusView struct {
	style
	now   time.Time
	width int
	wide  bool
}

// lines is the whole page: who this is, what is wrong with the host itself,
// and a row for each service, those that need a person first.
func (v statusView) lines(h status.Host) []string {
	out := append(v.head(h), v.troubles(h)...)
	rows := v.rows(h)
	if len(rows) == 0 {
		return append(out, v.faint("no app is on this host; `remora explain APP` says why"))
	}
	t := table{columns: v.columns(), header: v.bold}
	for _, r := range rows {
		t.rows = append(t.rows, r.cells)
	}
	return append(out, t.lines(v.width)...)
}

// head is one line, and one more for each source where there are several.
func (v statusView) head(h status.Host) []string {
	agent := "agent " + orElse(h.AgentVersion, "?")
	need := v.need(h.NeedPerson)
	if len(h.Sources) == 1 {
		parts := append([]string{v.bold(h.Name)}, v.source(h.Sources[0])...)
		line := strings.Join(append(parts, agent), "  ") + "     " + need
		for n := len(parts); visible(line) >= v.width && n > 1; n-- { // what matters least goes first
			line = strings.Join(parts[:n], "  ") + "     " + need
		}
		return []string{line}
	}
	t := table{noHeader: true, columns: []column{{}, {}, {}, {}}}
	for _, s := range h.Sources {
		cells := []cell{text("  " + s.Name)}
		for _, part := range v.source(s) {
			cells = append(cells, text(part))
		}
		t.rows = append(t.rows, cells)
	}
	return append([]string{v.bold(h.Name) + "  " + agent + "     " + need}, t.lines(unbounded)...)
}

func (v statusView) source(s status.Source) []string {
	var parts []string
	if s.Environment != "" {
		parts = append(parts, s.Environment)
	}
	parts = append(parts, orElse(revision(s.Revision), "nothing fetched yet"))
	if !s.FetchedAt.IsZero() {
		parts = append(parts, "fetched "+ago(s.FetchedAt, v.now)+" ago")
	}
	return parts
}

func (v statusView) need(n int) string {
	switch n {
	case 0:
		return v.good("nothing needs you")
	case 1:
		return v.bad("1 needs you")
	}
	return v.bad(fmt.Sprintf("%d need you", n))
}

// troubles are lines about what is wrong beside the apps.
func (v statusView) troubles(h status.Host) []string {
	var out []string
	add := func(who, what string) { out = append(out, v.bad("! ")+who+": "+oneLine(what)) }
	if !h.Engine.Connected {
		add("container engine", orElse(h.Engine.Message, "does not answer"))
	}
	if !h.Ambassador.Connected {
		add("ambassador", orElse(h.Ambassador.Message, "does not answer"))
	}
	for _, s := range h.Sources {
		for _, c := range s.Conditions {
			wrong := !c.True && (c.Type == status.Ready || c.Type == status.SourceVerified)
			if stalled := c.True && c.Type == status.Stalled; (wrong && c.Reason != status.Progressing) || stalled {
				add(orElse(s.Name, "source"), fmt.Sprintf("%s %s: %s", c.Reason, ago(c.Since, v.now), c.Message))
				break
			}
		}
	}
	return out
}

func (v statusView) columns() []column {
	c := []column{
		{name: "APP/SERVICE"},
		{name: "RUNNING"},
		{name: "WANTED"},
		{name: "TRAFFIC", right: true},
		{name: "STATE", gap: 1},
		{name: "BACK"},
		{name: "SINCE"},
	}
	if v.wide {
		c = append([]column{{name: "HOST"}}, c...)
		c = append(c, column{name: "RELEASE"}, column{name: "REVISION"}, column{name: "SYNC"}, column{name: "HEALTH"})
	}
	return append(c, column{name: "WHY"})
}

// The order of rows.
const (
	rankPerson = iota
	rankMoving
	rankRest
)

// row is one line of the table before it is laid out.
type row struct {
	rank  int
	name  string
	cells []cell
	// state and why are what a follower of changes compares.
	state, why string
}

func (v statusView) rows(h status.Host) []row {
	envs := map[string]bool{}
	for _, a := range h.Apps {
		envs[a.Environment] = true
	}
	var rows []row
	for _, a := range h.Apps {
		prefix := a.Name
		if len(envs) > 1 {
			prefix = a.Environment + "/" + a.Name
		}
		rows = append(rows, v.appRows(h.Name, prefix, a)...)
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.name, b.name))
	})
	return rows
}

// appRows are the rows of an app's services, and one of its own where it has
// something to say that none of them says.
func (v statusView) appRows(host, prefix string, a status.App) []row {
	var rows []row
	said := false
	services := sayOnce(a, blamed(a))
	for _, s := range services {
		said = said || s.Reason == a.Reason
		rows = append(rows, v.serviceRow(host, prefix+"/"+s.Name, a, s))
	}
	if entry, _ := status.Explain(a.Reason); len(a.Services) > 0 && (said || !entry.NeedsPerson) {
		return rows
	}
	own := line{name: prefix, reason: a.Reason, health: a.Health, sync: a.Sync, since: a.Since, why: a.Message, revision: a.Revision}
	return append([]row{v.row(host, own)}, rows...)
}

// sayOnce takes the app's own trouble, such as an error in its file, from the
// services where more than one carries it: the app has a row for it then, and
// theirs say how they are.
func sayOnce(a status.App, services []status.Service) []status.Service {
	same := func(s status.Service) bool { return s.Reason == a.Reason && s.Message == a.Message }
	entry, _ := status.Explain(a.Reason)
	n := 0
	for _, s := range services {
		if same(s) {
			n++
		}
	}
	if n < 2 || a.Message == "" || !entry.NeedsPerson {
		return services
	}
	for i := range services {
		if same(services[i]) {
			services[i].Reason, services[i].Message = status.Succeeded, ""
		}
	}
	return services
}

// blamed are the services of an app, where those that are well no longer carry
// the reason that the app has because of another one.
func blamed(a status.App) []status.Service {
	if slices.Contains([]status.Reason{status.LoadFailed, status.PolicyDenied, status.DecryptFailed, status.NotInThisVersion}, a.Reason) {
		return slices.Clone(a.Services) // of the file, not of a service
	}
	well := func(s status.Service) bool {
		return s.Reason == a.Reason && !a.Reason.Open() && s.Sync == status.Synced && s.Health == status.Healthy
	}
	services := slices.Clone(a.Services)
	if !slices.ContainsFunc(services, func(s status.Service) bool { return s.Reason == a.Reason && !well(s) }) {
		return services
	}
	for i := range services {
		if well(services[i]) {
			services[i].Reason, services[i].Message = status.Succeeded, ""
		}
	}
	return services
}

func (v statusView) serviceRow(host, name string, a status.App, s status.Service) row {
	l := line{
		name: name, running: s.Running, wanted: s.Wanted, back: s.Back, traffic: s.Traffic, served: true,
		reason: s.Reason, health: s.Health, sync: s.Sync, since: s.Since, why: s.Message,
		release: s.RunningRelease, revision: a.Revision, oneShot: s.Kind == "one-shot",
	}
	if l.why == "" && a.Rollout != nil && s.Sync != status.Synced {
		l.why = rolloutWhy(a.Rollout)
	}
	if l.why == "" && len(s.Warnings) > 0 {
		l.why = firstOf(s.Warnings)
	}
	return v.row(host, l)
}

// firstOf is the first of several warnings, and how many there are more.
func firstOf(warnings []string) string {
	if more := len(warnings) - 1; more > 0 {
		return fmt.Sprintf("%s (%d more: remora status -o json)", warnings[0], more)
	}
	return warnings[0]
}

func rolloutWhy(r *status.Rollout) string {
	why := r.Phase
	if r.Waves > 1 {
		why += fmt.Sprintf(", wave %d of %d", r.Wave, r.Waves)
	}
	if r.Message != "" {
		why += ": " + r.Message
	}
	return why
}

// line is what one row is made of.
type line struct {
	name, running, wanted, back string
	traffic                     int
	served                      bool // traffic and back mean something
	reason                      status.Reason
	health                      status.Health
	sync                        status.Sync
	since                       time.Time
	why, release, revision      string
	oneShot                     bool
}

func (v statusView) row(host string, l line) row {
	entry, _ := status.Explain(l.reason)
	r := row{name: l.name, rank: rankRest, state: state(l), why: oneLine(l.why)}
	paint := v.paint(l, entry)
	switch {
	case entry.NeedsPerson:
		r.rank = rankPerson
		r.why = withNext(r.why, l, entry)
	case !l.reason.Open() && l.reason != "":
		r.rank = rankMoving
	}
	r.cells = []cell{
		text(l.name), text(dash(tag(l.running), l.served)), text(dash(tag(l.wanted), l.served)), text(traffic(l)),
		{r.state, paint},
		text(l.back), text(ago(l.since, v.now)),
	}
	if v.wide {
		r.cells = append([]cell{text(host)}, r.cells...)
		r.cells = append(r.cells, text(abbreviate(l.release)), text(revision(l.revision)), text(string(l.sync)), text(string(l.health)))
	}
	why := r.why
	if v.width < unbounded {
		why = listed(r.why, l.why)
	}
	r.cells = append(r.cells, text(why))
	return r
}

// mostListed is how many lines of a message the table shows.
const mostListed = 5

// listed is a sentence, or where its message has several lines, those, for a
// person at a terminal: each is an error of its own.
func listed(sentence, message string) string {
	lines := strings.Split(strings.TrimSpace(message), "\n")
	if len(lines) == 1 {
		return sentence
	}
	if n := len(lines) - mostListed; n > 0 {
		lines = append(lines[:mostListed], fmt.Sprintf("and %d more", n))
	}
	rest := strings.TrimPrefix(sentence, oneLine(message))
	return strings.Join(lines, "\n") + rest
}

func (v statusView) paint(l line, entry status.Entry) func(string) string {
	switch {
	case entry.NeedsPerson || l.health == status.Degraded || l.health == status.Missing:
		return v.bad
	case !l.reason.Open() && l.reason != "":
		return v.busy
	}
	return v.good
}

// state is the one word that says how a service is: the reason where there is
// one to name, else its health.
func state(l line) string {
	switch {
	case l.reason != "" && !l.reason.Open():
		return string(l.reason)
	case l.oneShot && l.health == status.Healthy:
		return "Done"
	}
	return orElse(string(l.health), string(status.HealthUnknown))
}

// withNext ends a sentence with the command that shows more, unless it names
// one already.
func withNext(why string, l line, entry status.Entry) string {
	if strings.Contains(why, "remora ") {
		return why
	}
	next := "remora explain " + l.name
	switch l.reason {
	case status.RolledBack, status.HealthCheckFailed, status.JobFailed:
		next = "remora logs " + l.name + " --failed"
	case status.CrashLoop:
		next = "remora logs " + l.name
	case status.Pinned:
		next = "remora unpin " + l.name
	case status.Suspended:
		next = "remora resume " + l.name
	case status.StoppedByHand:
		next = "remora start " + l.name
	case status.Maintenance:
		next = "remora maintenance " + l.name + " off"
	}
	return orElse(why, entry.Meaning) + " → " + next
}

func traffic(l line) string {
	switch {
	case !l.served:
		return ""
	case l.traffic < 0:
		return "–"
	}
	return fmt.Sprintf("%d%%", l.traffic)
}

func dash(s string, served bool) string {
	if s == "" && served {
		return "–"
	}
	return s
}

// tag shortens what a person calls a release where it is a digest or very
// long.
func tag(s string) string {
	s = abbreviate(s)
	if n := []rune(s); len(n) > 24 {
		return string(n[:23]) + "…"
	}
	return s
}
