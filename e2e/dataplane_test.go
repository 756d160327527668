package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/remorahq/remora/e2e/rig"
)

// knocker opens connections to a port all the time and asks one question on
// each. A connection that is refused and one that ends without an answer are
// counted apart: the first is the holder's business, the second the worker's.
type knocker struct {
	stop                       func()
	answered, refused, cut     atomic.Int64
	lastRefusal, lastCutReason atomic.Value
}

func knock(t *testing.T, e *rig.Engine, url string) *knocker {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	k := &knocker{}
	var group sync.WaitGroup
	k.stop = func() { cancel(); group.Wait() }
	t.Cleanup(k.stop)
	address := strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/")
	for range 4 {
		group.Go(func() {
			for ctx.Err() == nil {
				k.once(ctx, e, address)
			}
		})
	}
	return k
}

func (k *knocker) once(ctx context.Context, e *rig.Engine, address string) {
	conn, err := e.DialContext(ctx, "tcp", address)
	if err != nil {
		if ctx.Err() == nil {
			k.refused.Add(1)
			k.lastRefusal.Store(err.Error())
		}
		return
	}
	defer conn.Close()
	if err := question(conn, address); err != nil {
		k.cut.Add(1)
		k.lastCutReason.Store(err.Error())
		return
	}
	k.answered.Add(1)
}

func question(conn net.Conn, address string) error {
	must := conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", address)
	if err = errors.Join(must, err); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// TestWorkerKilled: the worker's death is noticed by the connections that it
// was serving and by nobody else; no new connection is refused.
func TestWorkerKilled(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	h, url := begin(t, e, plainWeb, load(t, e, "v1"))
	k := knock(t, e, url)
	const kills = 5
	for range kills {
		before := k.answered.Load()
		old := workerOf(t, h.Ambassador())
		must(t, syscall.Kill(old, syscall.SIGKILL))
		rig.Eventually(t, 20*time.Second, "another worker to answer", func() error {
			if now, err := findWorker(h.Ambassador().PID()); err != nil || now == old {
				return errorf("the worker is %d, was %d: %v", now, old, err)
			}
			if n := k.answered.Load(); n < before+50 {
				return errorf("%d answers", n-before)
			}
			return nil
		})
	}
	k.stop()
	t.Logf("%d answered, %d cut off (%v)", k.answered.Load(), k.cut.Load(), k.lastCutReason.Load())
	if n := k.refused.Load(); n > 0 {
		t.Errorf("%d connections were refused: %v", n, k.lastRefusal.Load())
	}
	if n := k.cut.Load(); n > 4*kills {
		t.Errorf("%d connections were cut off, at most %d were open when a worker died: %v", n, 4*kills, k.lastCutReason.Load())
	}
	h.WaitHealthy(t, "shop", time.Minute)
}

// TestHolderKilled: whoever restarts the ambassador gets the table served as
// it was, without an agent.
func TestHolderKilled(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	h, url := begin(t, e, plainWeb, load(t, e, "v1", "v2"))
	h.Agent().Kill(t)
	worker := workerOf(t, h.Ambassador())
	h.Ambassador().Kill(t)
	rig.Eventually(t, 10*time.Second, "the worker to follow its holder", func() error {
		if err := syscall.Kill(worker, 0); err == nil {
			return errorf("worker %d lives", worker)
		}
		return nil
	})
	h.StartAmbassador(t)
	k := knock(t, e, url)
	rig.Eventually(t, 10*time.Second, "the table to be served", func() error {
		if k.answered.Load() < 20 {
			return errorf("%d answered, %d refused (%v), %d cut off (%v)", k.answered.Load(), k.refused.Load(), k.lastRefusal.Load(), k.cut.Load(), k.lastCutReason.Load())
		}
		return nil
	})
	k.stop()
	if k.cut.Load() > 0 {
		t.Errorf("%d requests failed: %v", k.cut.Load(), k.lastCutReason.Load())
	}
	h.StartAgent(t)
	release(t, h, "v2")
	answers(t, e, url, "v2")
}

// workerOf is the worker's process; there must be one.
func workerOf(t *testing.T, holder *rig.Process) (pid int) {
	t.Helper()
	rig.Eventually(t, 10*time.Second, "the holder to have a worker", func() (err error) {
		pid, err = findWorker(holder.PID())
		return err
	})
	return pid
}

// findWorker looks for the only child of the holder.
func findWorker(holder int) (int, error) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", holder))
	if err != nil {
		return 0, err
	}
	for _, task := range tasks {
		list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", holder, task.Name()))
		if err != nil {
			return 0, err
		}
		if children := strings.Fields(string(list)); len(children) > 0 {
			return strconv.Atoi(children[len(children)-1])
		}
	}
	return 0, errors.New("the holder has no child")
}
