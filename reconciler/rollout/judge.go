package rollout

import (
	"fmt"
	"time"

	"github.com/remorahq/remora/internal/engine"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/reconciler/ledger"
)

// judge sums up the app for its status.
func (t *turn) judge() (status.Health, status.Reason, string) {
	if t.app.Rollout != nil {
		return t.judgeRollout()
	}
	if o := t.app.Suspended; o != nil {
		return status.HealthSuspended, status.Suspended, because("suspended by "+o.By.Name, o)
	}
	for _, name := range t.services() {
		if h, r, m := t.judgeService(name, t.app.Services[name]); r != "" {
			return h, r, m
		}
	}
	if t.trouble != nil {
		return status.Degraded, t.trouble.Reason, t.trouble.Message
	}
	if t.app.Pin != nil {
		return status.Healthy, status.Pinned, because("pinned by "+t.app.Pin.By.Name, t.app.Pin)
	}
	if l := t.app.Last; l != nil && l.Reason != status.Succeeded && l.Reason != status.Superseded && l.Reason != status.Interrupted {
		return status.Degraded, l.Reason, l.Message
	}
	if len(t.app.Services) == 0 {
		return status.Missing, status.NoChange, ""
	}
	return status.Healthy, status.Succeeded, ""
}

// because adds a person's reason, and when the state ends by itself.
func because(text string, o *ledger.Override) string {
	if o.Reason != "" {
		text += ": " + o.Reason
	}
	if !o.Until.IsZero() {
		text += ", until " + o.Until.Format("15:04")
	}
	return text
}

func (t *turn) judgeRollout() (status.Health, status.Reason, string) {
	r := t.app.Rollout
	switch {
	case r.Failure != nil:
		return status.Degraded, r.Failure.Reason, t.failedText(r.Failure)
	case r.Phase == ledger.Pending && t.obs.NotReady != "":
		return status.HealthProgressing, status.DependencyNotReady, "waits for " + t.obs.NotReady
	case r.Phase == ledger.Pending && t.obs.Waiting != "":
		return status.HealthProgressing, status.WaitingForFleetSlot, t.obs.Waiting
	case t.trouble != nil:
		return status.HealthProgressing, t.trouble.Reason, t.trouble.Message
	case t.jobRuns():
		return status.HealthProgressing, status.WaitingForJob, "a one-shot runs"
	case r.Kind == ledger.Return:
		return status.HealthProgressing, status.Returning, t.progressText()
	}
	return status.HealthProgressing, status.Progressing, t.progressText()
}

func (t *turn) progressText() string {
	r := t.app.Rollout
	switch {
	case r.Phase == ledger.Monitoring:
		return "switched; watched until " + r.Since.Add(t.monitorFor()).Format(time.TimeOnly)
	case r.Phase != ledger.Rolling || r.Wave >= len(r.Waves):
		return string(r.Phase)
	case len(r.Waves) > 1:
		return fmt.Sprintf("wave %d of %d: %s", r.Wave+1, len(r.Waves), t.waveText(&r.Waves[r.Wave]))
	}
	return t.waveText(&r.Waves[r.Wave])
}

// waveText says where a wave stands.
func (t *turn) waveText(w *ledger.Wave) string {
	if w.Step == ledger.Canary {
		return t.canaryText(w)
	}
	return stepText(w.Step)
}

// stepText says a wave's step as a person reads it.
func stepText(s ledger.WaveStep) string {
	switch s {
	case ledger.BeforeJobs:
		return "runs the jobs before it"
	case ledger.Starting:
		return "creates containers"
	case ledger.Warming:
		return "new containers warm"
	case ledger.Exchanging:
		return "stops the old, then starts the new; requests wait"
	case ledger.AfterJobs:
		return "runs the jobs after it"
	case ledger.Switching:
		return "moves the traffic"
	case ledger.Replacing:
		return "switched; workers are replaced"
	case ledger.Canary, ledger.Switched:
	}
	return "switched"
}

// failing is how many failed checks in a row make a container that never was
// good one that is not well.
const failing = 3

// judgeService gives the reason why a service is not well; none if it is.
func (t *turn) judgeService(name string, s *ledger.Service) (status.Health, status.Reason, string) {
	if s.Active == nil {
		return "", "", ""
	}
	if s.Stopped != nil {
		return status.HealthSuspended, status.StoppedByHand, because(name+" was stopped by "+s.Stopped.By.Name, s.Stopped)
	}
	if s.Crashes >= loopAfter {
		return status.Degraded, status.CrashLoop, fmt.Sprintf("%s crashed %d times in a row", name, s.Crashes)
	}
	for k := range s.Active.Instances {
		i := &s.Active.Instances[k]
		c, ok := t.container(i)
		switch {
		case !ok:
			return status.Degraded, status.Progressing, "container " + i.Name + " is missing"
		case c.RestartCount-i.Restarts >= loopAfter && (c.State == engine.Restarting || t.now().Before(c.Started.Add(stableAfter))):
			return status.Degraded, status.CrashLoop, fmt.Sprintf("%s was restarted %d times", name, c.RestartCount-i.Restarts)
		case c.State != engine.Running:
			return status.Degraded, status.Progressing, fmt.Sprintf("container %s is %s", i.Name, c.State)
		case c.Health == "unhealthy":
			return status.Degraded, status.HealthCheckFailed, name + " is " + unhealthy(&c)
		}
		if e, ok := t.endpoint(name, s.Active, &c); ok && !e.Good && (e.Warm || e.Failures >= failing) {
			return status.Degraded, status.HealthCheckFailed, name + ": " + probeFailure(e)
		}
	}
	return "", "", ""
}
