package reconciler

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// BenchmarkNothingToDo reconciles a commit that changes nothing of 1,000
// services, one in each app and ten in each: CPU is the whole process's user
// and system time. All are promoted
// first.
func BenchmarkNothingToDo(b *testing.B) {
	for _, per := range []int{1, 10} {
		b.Run(fmt.Sprintf("%dapps", 1000/per), func(b *testing.B) { nothingToDo(b, 1000/per, per) })
	}
}

func nothingToDo(b *testing.B, apps, per int) {
	n := newBench(b, b.TempDir())
	var names []string
	for i := range apps {
		names = append(names, fmt.Sprintf("app%03d", i))
	}
	n.wants("0000", "shop:v1", names...)
	res, _ := n.loader.load(manifests.LoadRequest{})
	for i := range res.Apps {
		first := res.Apps[i].Services[0]
		first.Update.Monitor = time.Millisecond
		res.Apps[i].Services = nil
		for k := range per {
			s := first
			s.Name, s.Ports = fmt.Sprintf("web%d", k), nil
			s.Unit = s.Name
			res.Apps[i].Services = append(res.Apps[i].Services, s)
		}
	}
	stop := n.run(b.Context())
	defer stop()
	n.await(b, apps)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := cpu()
	for i := 0; b.Loop(); i++ {
		n.source.mu.Lock()
		n.source.rev.SHA = fmt.Sprintf("%08d", i+1)
		n.source.mu.Unlock()
		if _, err := n.Do(b.Context(), status.Command{Verb: "reconcile"}); err != nil {
			b.Fatal(err)
		}
		for _, w := range n.all() { // each has settled
			if _, err := ask(b.Context(), w, func() bool { return true }); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64((cpu()-began).Microseconds())/1000/float64(b.N), "cpu-ms/op")
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc)/(1<<20), "heap-MB")
	b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/(1<<20), "growth-MB")
}

// await waits until all apps are ready.
func (b *bench) await(t testing.TB, apps int) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(5 * time.Minute)
	for {
		ready := 0
		h, err := b.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range h.Apps {
			if a.Health == status.Healthy && a.Sync == status.Synced && a.Rollout == nil {
				ready++
			}
		}
		if ready == apps {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%d of %d apps are ready", ready, apps)
		}
	}
}

// cpu is the time that the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
