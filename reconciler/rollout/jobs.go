package rollout

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// runJobs runs one-shots, once per release, and says whether all are done.
func (t *turn) runJobs(names []string, w *ledger.Wave) bool {
	all := true
	for _, name := range names {
		c := t.change(name)
		if c == nil || c.Action != ledger.Run || c.To == nil || t.jobDone(name, c) {
			continue
		}
		all = false
		if f := t.job(name, c, w); f != nil {
			t.fail(*f)
			return false
		}
	}
	// One that has just ended is looked at again, not waited for.
	return all || t.allDone(names)
}

func (t *turn) allDone(names []string) bool {
	for _, name := range names {
		if c := t.change(name); c != nil && c.Action == ledger.Run && !t.jobDone(name, c) {
			return false
		}
	}
	return true
}

// jobDone says that a one-shot's release ended well here before.
func (t *turn) jobDone(name string, c *ledger.Change) bool {
	s := t.app.Services[name]
	return s != nil && c.To != nil && s.Jobs[c.To.ID].State == ledger.JobDone
}

// jobRuns says that a one-shot of the rollout was started and has not ended.
func (t *turn) jobRuns() bool {
	for _, name := range t.changes() {
		c, s := t.change(name), t.app.Services[name]
		if c.Action != ledger.Run || c.To == nil || s == nil {
			continue
		}
		if j := s.Jobs[c.To.ID]; j.State == ledger.JobRunning && j.Launched {
			return true
		}
	}
	return false
}

// job takes one one-shot a step further.
func (t *turn) job(name string, c *ledger.Change, w *ledger.Wave) *ledger.Failure {
	s := t.service(name)
	if s.Jobs == nil {
		s.Jobs = map[string]ledger.Job{}
	}
	j, ok := s.Jobs[c.To.ID]
	if !ok {
		j = t.newJob(name, c, w)
	}
	var f *ledger.Failure
	switch j.State {
	case ledger.JobRunning:
		f = t.runJob(name, c, &j, w)
	case ledger.JobUnknown:
		f = t.unknownJob(name, c, &j)
	case ledger.JobFailed:
		f = t.jobFailed(name, c, fmt.Sprintf("exited with code %d", j.ExitCode))
	case ledger.JobDone:
	}
	s.Jobs[c.To.ID] = j
	return f
}

func (t *turn) newJob(name string, c *ledger.Change, w *ledger.Wave) ledger.Job {
	j := ledger.Job{State: ledger.JobRunning, Began: t.now(), Revision: t.app.Rollout.Revision}
	if len(c.To.Instances) > 0 {
		j.Instance = c.To.Instances[0]
	}
	t.app.Rollout.Progress = t.now()
	_, j.Candidate = t.candidates(name, w)
	return j
}

func (t *turn) runJob(name string, c *ledger.Change, j *ledger.Job, w *ledger.Wave) *ledger.Failure {
	d := &ledger.Deployed{Release: c.To.Release, Instances: []ledger.Instance{j.Instance}}
	ctr, ok := t.container(&j.Instance)
	if !ok {
		if j.Launched {
			j.State, j.Ended = ledger.JobUnknown, t.now()
			return t.unknownJob(name, c, j)
		}
		return t.createJob(name, d, &j.Instance, w)
	}
	switch ctr.State {
	case engine.Created:
		j.Launched = true
		return t.jobAction(name, d, on(Start, name, d, &j.Instance))
	case engine.Paused:
		t.act(on(Unpause, name, d, &j.Instance))
	case engine.Exited, engine.Dead:
		return t.endJob(name, c, j, &ctr)
	case engine.Running, engine.Restarting, engine.Removing:
	}
	return nil
}

func (t *turn) createJob(name string, d *ledger.Deployed, i *ledger.Instance, w *ledger.Wave) *ledger.Failure {
	a := on(Create, name, d, i)
	a.Deployed, a.Policy = d.Clone(), "no"
	a.Env, _ = t.candidates(name, w)
	if o, ok := t.ownerContainer(name, d, i); ok {
		if _, joins := t.owner(name, d, i); joins {
			a.Owner = o.ID
		}
	}
	return t.jobAction(name, d, a)
}

func (t *turn) jobAction(name string, d *ledger.Deployed, a Action) *ledger.Failure {
	f := t.act(a)
	if f == nil || f.Passing {
		return nil
	}
	return t.blame(name, d, f)
}

// endJob records how a one-shot ended.
func (t *turn) endJob(name string, c *ledger.Change, j *ledger.Job, ctr *engine.Container) *ledger.Failure {
	j.ExitCode, j.Ended = ctr.ExitCode, t.now()
	t.app.Rollout.Progress = t.now()
	if ctr.ExitCode == 0 && !ctr.OOMKilled && ctr.StateError == "" {
		j.State = ledger.JobDone
		t.event(event{service: name, release: &c.To.Release, reason: status.Succeeded, text: name + " " + tag(&c.To.Release) + " ended well"})
		return nil
	}
	j.State = ledger.JobFailed
	text := death(ctr)
	if out := t.obs.Output[ctr.ID]; out != "" {
		text += ": " + out
	}
	return t.jobFailed(name, c, text)
}

func (t *turn) jobFailed(name string, c *ledger.Change, text string) *ledger.Failure {
	return &ledger.Failure{Service: name, Release: c.To.ID, Reason: status.JobFailed, Message: text, Quarantine: true}
}

// unknownJob repeats a one-shot whose outcome is unknown if its manifest says
// that it may be; else a person must look.
func (t *turn) unknownJob(name string, c *ledger.Change, j *ledger.Job) *ledger.Failure {
	if !c.To.Service.Idempotent {
		return &ledger.Failure{
			Service: name, Release: c.To.ID, Reason: status.JobFailed,
			Message: "its outcome is unknown: it was cut off while it ran, and is not marked idempotent; look at what it did, then `remora retry " + t.app.Name + "`",
		}
	}
	if _, ok := t.container(&j.Instance); ok {
		d := &ledger.Deployed{Release: c.To.Release, Instances: []ledger.Instance{j.Instance}}
		t.act(on(Remove, name, d, &j.Instance))
		return nil
	}
	j.State, j.Launched, j.Began, j.Ended = ledger.JobRunning, false, t.now(), time.Time{}
	return nil
}

// candidates are the addresses that an after-job tests: REMORA_CANDIDATE, the
// candidate of the service it depends on, and REMORA_CANDIDATE_<SERVICE>.
func (t *turn) candidates(job string, w *ledger.Wave) (env map[string]string, first string) {
	if w == nil {
		return nil, ""
	}
	env = map[string]string{}
	named := map[string]string{}
	t.endpoints(w, func(name string, c *ledger.Change) {
		addr := t.candidateAddress(name, c)
		if addr == "" {
			return
		}
		named[name] = addr
		env["REMORA_CANDIDATE_"+envName(name)] = addr
		if first == "" {
			first = addr
		}
	})
	for _, d := range t.change(job).To.Service.DependsOn {
		if addr := named[d.Service]; addr != "" {
			first = addr
			break
		}
	}
	if first == "" {
		return nil, ""
	}
	env["REMORA_CANDIDATE"] = first
	return env, first
}

func (t *turn) candidateAddress(name string, c *ledger.Change) string {
	ports := c.To.Ports()
	if len(ports) == 0 || len(c.To.Instances) == 0 || c.To.Service.Kind != manifests.KindEndpoint {
		return ""
	}
	v := view{app: t.app, containers: t.obs.Containers}
	ctr, _ := t.container(&c.To.Instances[0])
	addr := v.address(name, c.To, &c.To.Instances[0], &ctr)
	if !addr.IsValid() {
		return ""
	}
	return netip.AddrPortFrom(addr, ports[0]).String()
}

// envName is a service's name as part of a variable's.
func envName(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= '0' && r <= '9', r >= 'A' && r <= 'Z':
			return r
		}
		return '_'
	}, name)
}
