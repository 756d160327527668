package reconciler

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/reconciler/plan"
)

// tableKeeper owns the ambassador's table: apps hand in their part, it builds
// the whole, numbers it and pushes it, and knows which part of which app the
// ambassador has acknowledged. It is safe for concurrent use.
type tableKeeper struct {
	traffic Traffic
	log     *slog.Logger
	bootID  string
	// build makes the table of the parts; notify wakes an app.
	build  func(parts map[string]plan.AppTraffic) traffic.Table
	notify func(app string)

	kick chan struct{}

	mu    sync.Mutex
	parts map[string]part
	// doubt says that a report spoke of an older table than the acknowledged
	// one: it may only have been late.
	doubt bool
	// early are the apps that asked for reports before there was one of the
	// acknowledged table.
	early map[string]bool
	// generation is the last one that was given; it begins at the ambassador's.
	generation uint64
	acked      traffic.Table
	hasAck     bool
	ack        traffic.Ack
	report     traffic.Report
	byName     reports
	err        error
}

// part is one app's share of the table: seq counts its changes, acked the one
// that the ambassador has.
type part struct {
	app   plan.AppTraffic
	seq   uint64
	acked uint64
}

// set hands in an app's part, which is different from the one before.
func (k *tableKeeper) set(id string, app plan.AppTraffic) {
	k.mu.Lock()
	p := k.parts[id]
	p.app = app
	p.seq++
	k.parts[id] = p
	k.mu.Unlock()
	k.wake()
}

// applied says whether the ambassador has acknowledged just the app's present
// part.
func (k *tableKeeper) applied(id string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.parts[id]
	return k.hasAck && p.acked == p.seq
}

// drop forgets an app.
func (k *tableKeeper) drop(id string) {
	k.mu.Lock()
	delete(k.parts, id)
	k.mu.Unlock()
	k.wake()
}

// begin counts on from the table that the ambassador has.
func (k *tableKeeper) begin(t traffic.Table) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.generation = max(k.generation, t.Generation)
	k.acked = t
}

func (k *tableKeeper) wake() {
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

// run pushes tables until ctx ends. hold is closed when all apps have handed
// in their part for the first time: before that the table on the ambassador's
// disk stays in force.
func (k *tableKeeper) run(ctx context.Context, hold <-chan struct{}) {
	select {
	case <-ctx.Done():
		return
	case <-hold:
	}
	pause := stopped()
	defer pause.Stop()
	k.wake()
	again := firstPush
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.kick:
		case <-pause.C:
		}
		if err := k.push(ctx); err != nil {
			pause.Reset(again)
			again = min(2*again, longestPush)
			continue
		}
		again = firstPush
	}
}

// Pauses between tries while the ambassador does not take the table; a report
// of it ends the pause.
const (
	firstPush   = 250 * time.Millisecond
	longestPush = 5 * time.Second
)

// push applies the table if it differs from the acknowledged one, and marks
// the parts in it as acknowledged.
func (k *tableKeeper) push(ctx context.Context) error {
	k.settleDoubt(ctx)
	k.mu.Lock()
	parts := make(map[string]plan.AppTraffic, len(k.parts))
	seqs := make(map[string]uint64, len(k.parts))
	for id, p := range k.parts {
		parts[id], seqs[id] = p.app, p.seq
	}
	acked, hasAck := k.acked, k.hasAck
	k.mu.Unlock()

	table := k.build(parts)
	if !hasAck || !plan.EqualTables(table, acked) {
		ack, err := k.apply(ctx, &table)
		if err != nil {
			k.setErr(err)
			return err
		}
		acked = table
		k.mu.Lock()
		k.ack = ack
		k.mu.Unlock()
	}
	for _, id := range k.acknowledge(acked, seqs) {
		k.notify(id)
	}
	return nil
}

// apply numbers the table above whatever the ambassador has, which keeps the
// count on its disk, and hands it over.
func (k *tableKeeper) apply(ctx context.Context, t *traffic.Table) (traffic.Ack, error) {
	begun := time.Now()
	k.mu.Lock()
	k.generation = max(k.generation, k.report.Generation) + 1
	t.Generation = k.generation
	k.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	ack, err := k.traffic.Apply(limited, *t)
	k.log.Debug("table", "generation", t.Generation, "took", time.Since(begun), "err", err)
	if err != nil {
		k.learn(ctx)
		return ack, fmt.Errorf("apply table: %w", err)
	}
	return ack, nil
}

// learn asks which generation the ambassador has, after it refused one: a
// ledger that was lost counts on from there.
func (k *tableKeeper) learn(ctx context.Context) {
	if rep, err := k.ask(ctx); err == nil {
		k.mu.Lock()
		k.generation = max(k.generation, rep.Generation)
		k.mu.Unlock()
	}
}

// ask takes a report now; an ambassador that is not there may keep a call
// waiting.
func (k *tableKeeper) ask(ctx context.Context) (traffic.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	return k.traffic.Report(ctx)
}

// askLimit is how long the ambassador may take to answer.
const askLimit = 5 * time.Second

// acknowledge notes what the ambassador serves by now, and returns the apps of
// which it did not serve that before.
func (k *tableKeeper) acknowledge(t traffic.Table, seqs map[string]uint64) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		k.log.Info("table applied again", "generation", t.Generation)
	}
	k.acked, k.hasAck, k.err = t, true, nil
	var changed []string
	for id, seq := range seqs {
		p, ok := k.parts[id]
		if ok && p.acked != seq {
			p.acked = seq
			k.parts[id] = p
			changed = append(changed, id)
		}
	}
	return changed
}

func (k *tableKeeper) setErr(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil || k.err.Error() != err.Error() {
		k.log.Warn("table not applied", "err", err)
	}
	k.err = err
}

// settleDoubt asks the ambassador where a report spoke of an older table: one
// that began anew with an old table gets the present one, a report that was
// only late is no reason.
func (k *tableKeeper) settleDoubt(ctx context.Context) {
	k.mu.Lock()
	doubt := k.doubt
	k.doubt = false
	k.mu.Unlock()
	if !doubt {
		return
	}
	rep, err := k.ask(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil && rep.Generation >= k.acked.Generation && !rep.Fenced {
		return
	}
	k.hasAck = false
	for id, p := range k.parts {
		p.acked = 0
		k.parts[id] = p
	}
}

// warmingLook is how often the report is asked for while a release warms: the
// text of a failing check is no change that the ambassador announces.
const warmingLook = 500 * time.Millisecond

// watch takes reports until ctx ends and wakes the apps they concern.
func (k *tableKeeper) watch(ctx context.Context) {
	look := time.NewTicker(warmingLook)
	defer look.Stop()
	reports := k.traffic.Watch(ctx)
	for {
		select {
		case rep, ok := <-reports:
			if !ok {
				return
			}
			k.tell(rep)
		case <-look.C:
			if !k.warming() {
				continue
			}
			if rep, err := k.ask(ctx); err == nil {
				k.tell(rep)
			}
		}
	}
}

// tell stores a report and wakes the apps that it concerns.
func (k *tableKeeper) tell(rep traffic.Report) {
	for _, id := range k.take(rep) {
		k.notify(id)
	}
}

// warming says whether a release is being checked before it gets traffic.
func (k *tableKeeper) warming() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, releases := range k.byName {
		for _, r := range releases {
			if r.State == traffic.Warming {
				return true
			}
		}
	}
	return false
}

// take stores a report and returns the apps that it concerns: those of which a
// part changed, and those that asked too early. A report of another table than
// the acknowledged one, as after the ambassador's restart with an old table,
// makes the keeper look, and push again.
func (k *tableKeeper) take(rep traffic.Report) []string {
	byName := indexReport(rep)
	k.mu.Lock()
	defer k.mu.Unlock()
	if byName != nil && k.hasAck && (rep.Generation < k.acked.Generation || rep.Fenced) {
		k.doubt = true
		k.wake()
	}
	if byName != nil && k.err != nil {
		k.wake() // it answers again
	}
	apps := changedApps(k.byName, byName)
	k.report, k.byName = rep, byName
	if byName != nil && !k.late() {
		for app := range k.early {
			apps = append(apps, app)
		}
		k.early = nil
	}
	return apps
}

// indexReport orders a report by service and release; nil where no ambassador
// answers.
func indexReport(rep traffic.Report) reports {
	if rep.Version == "" {
		return nil
	}
	byName := make(reports, len(rep.Services))
	for _, s := range rep.Services {
		m := make(map[string]traffic.ReleaseReport, len(s.Releases))
		for _, r := range s.Releases {
			m[r.Name] = r
		}
		byName[s.Name] = m
	}
	return byName
}

// late says that the report speaks of an older table than the acknowledged
// one.
func (k *tableKeeper) late() bool { return k.hasAck && k.report.Generation < k.acked.Generation }

// seen returns the last report of one app's services; nil while no ambassador
// answers. What was reported of an older table than the acknowledged one is
// not told: a release that was drained then may have traffic by now. The app
// is woken when the report is there.
func (k *tableKeeper) seen(id string, services []string) reports {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byName == nil || k.late() {
		if k.early == nil {
			k.early = map[string]bool{}
		}
		k.early[id] = true
	}
	if k.byName == nil {
		return nil
	}
	out := make(reports, len(services))
	if k.late() {
		return out
	}
	for _, s := range services {
		if m, ok := k.byName[s]; ok {
			out[s] = m
		}
	}
	return out
}

// state returns what the status shows of the ambassador.
func (k *tableKeeper) state() (traffic.Report, traffic.Table, traffic.Ack, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.report, k.acked, k.ack, k.err
}

// listening are the host's ports that the ambassador listens on.
func (k *tableKeeper) listening() map[uint16]bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	ports := map[uint16]bool{}
	for _, l := range k.acked.Listeners {
		ports[l.Port] = ports[l.Port] || l.Namespace == ""
	}
	for _, f := range k.ack.Failures {
		if f.Namespace == "" {
			delete(ports, f.Port)
		}
	}
	return ports
}
