package e2e_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/host"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/e2e/testprogram/jobqueue"
	"github.com/remorahq/remora/internal/status"
)

// queued is a web with two workers behind it; both have the release's image.
const queued = `services:
  web:
    image: %[1]s:${WEB_TAG}
    ports: ["%[2]d:8080"]
    deploy: {update_config: {monitor: 6s}}
    x-remora: {probe: {http: /health, interval: 200ms, timeout: 1s, fall: 3}}
  worker:
    image: %[1]s:${WEB_TAG}
    command: [worker]
    environment: {APP_QUEUE_URL: "%[3]s", APP_JOB_TIME: 7ms}
    stop_grace_period: 10s
    deploy: {replicas: 2, update_config: {monitor: 1s}}
    x-remora: {min_healthy_time: 500ms}
`

const jobs = 10_000

// TestWorkersThroughReleases has two workers take 10,000 numbered jobs through
// a deploy, a release that never gets traffic, one that is taken back after its
// switch, and a revert. The queue hands out each job once, in order, and notes
// who took and who finished it, so that it can judge:
//
//   - nothing is lost: every job taken is finished;
//   - nothing is doubled: by its taker, once;
//   - nobody works who is not active: the takers, in the order of the jobs, are
//     first v1, then v2, then v4 for as long as it had the traffic, v2 again
//     and v1 again, never mixed, and v3 never; and whoever leaves has finished
//     its last job before the next one takes its first.
func TestWorkersThroughReleases(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	image := load(t, e, "v1", "v2")
	e.LoadImage(t, rig.Image{Name: image + ":v3", Version: "v3", Env: map[string]string{"APP_NEVER_READY": "true", "APP_CRASH_AFTER": "2s"}})
	e.LoadImage(t, rig.Image{Name: image + ":v4", Version: "v4", Env: map[string]string{"APP_FAIL_AFTER": "4s"}})
	queue := rig.StartQueue(t, e.HostAddr(), jobs)
	h := host.Start(t, e, host.Options{})
	h.App(t, "shop", fmt.Sprintf(queued, image, rig.FreePort(t), queue.URL), map[string]string{"WEB_TAG": "v1"})
	h.Reconcile(t)
	h.Until(t, "shop", "on v1", host.On("worker", "v1"))
	taken(t, h, queue, "v1")

	release(t, h, "v2")
	h.Until(t, "shop", "on v2", host.On("worker", "v2"))
	taken(t, h, queue, "v2")
	for _, broken := range []string{"v3", "v4"} {
		rev := h.Set(t, "shop", map[string]string{"WEB_TAG": broken})
		h.Reconcile(t)
		h.Until(t, "shop", "back from "+broken, host.Judged(rev, func(a status.App) bool {
			return a.Reason == status.Quarantined && host.Service(a, "worker").Running == "v2" && host.Service(a, "worker").Health == status.Healthy
		}))
		taken(t, h, queue, "v2")
	}
	release(t, h, "v1")
	h.Until(t, "shop", "on v1 again", host.On("worker", "v1"))
	taken(t, h, queue, "v1")
	judge(t, queue, []string{"v1", "v2", "v4", "v2", "v1"})
}

// taken waits until a version has taken the next jobs of the queue.
func taken(t *testing.T, h *host.Host, queue *rig.Queue, version string) {
	t.Helper()
	from := len(queue.Jobs())
	rig.Eventually(t, 30*time.Second, version+" to take jobs", func() error {
		list := queue.Jobs()
		if len(list) == jobs {
			t.Log(h.Must(t, "events"))
			t.Fatalf("the jobs are used up before the releases are: the machine is too slow for this test")
		}
		if len(list) > from+20 && list[len(list)-1].Taken[0].Version == version {
			return nil
		}
		return fmt.Errorf("%d jobs are taken since", len(list)-from)
	})
}

// judge waits for the last job, and checks all of them.
func judge(t *testing.T, queue *rig.Queue, want []string) {
	t.Helper()
	rig.Eventually(t, 3*time.Minute, "all jobs to be finished", func() error {
		list := queue.Jobs()
		if open := slices.IndexFunc(list, func(j jobqueue.Job) bool { return len(j.Done) == 0 }); len(list) < jobs || open >= 0 {
			return fmt.Errorf("%d are taken, the first open one is at %d", len(list), open)
		}
		return nil
	})
	var spells []spell
	for _, j := range queue.Jobs() {
		if len(j.Taken) != 1 || len(j.Done) != 1 || j.Taken[0].Instance != j.Done[0].Instance {
			t.Errorf("job %d: taken %+v, done %+v", j.Number, j.Taken, j.Done)
			continue
		}
		if n := len(spells); n == 0 || spells[n-1].version != j.Taken[0].Version {
			spells = append(spells, spell{version: j.Taken[0].Version, begun: j.Taken[0].At})
		}
		s := &spells[len(spells)-1]
		s.jobs++
		if j.Done[0].At.After(s.ended) {
			s.ended = j.Done[0].At
		}
	}
	checkSpells(t, spells, want)
}

// spell is a run of jobs that one version took.
type spell struct {
	version      string
	begun, ended time.Time // the first was taken, the last one finished
	jobs         int
}

func checkSpells(t *testing.T, spells []spell, want []string) {
	t.Helper()
	var got []string
	for i, s := range spells {
		got = append(got, s.version)
		t.Logf("%s: %d jobs in %s", s.version, s.jobs, s.ended.Sub(s.begun).Round(time.Millisecond))
		if i > 0 && s.begun.Before(spells[i-1].ended) {
			t.Errorf("%s took a job %s before %s finished its last", s.version, spells[i-1].ended.Sub(s.begun), spells[i-1].version)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("jobs were taken by %v, want %v", got, want)
	}
}
