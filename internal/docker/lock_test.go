package docker_test

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/docker"
	"github.com/remorahq/remora/internal/engine"
)

func TestLock(t *testing.T) {
	rig.EachLine(t, &engines, func(t *testing.T, e *rig.Engine) {
		release, err := open(t, e).Lock(t.Context())
		must(t, err)
		second := func() error {
			release, err := open(t, e, func(o *docker.Options) { o.Owner = "the-second" }).Lock(t.Context())
			if err == nil {
				release()
			}
			return err
		}
		refused := func(where string, err error) {
			t.Helper()
			if !errors.Is(err, engine.ErrLocked) || !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())+" on ") {
				t.Errorf("a second agent %s: %v", where, err)
			}
		}
		refused("in the same namespace", second())
		refused("in another network namespace", e.Inside(second))
		e.Call(t, "POST", "/images/prune", nil, nil)
		refused("after a prune", e.Inside(second))
		release()
		release()
		if err := e.Inside(second); err != nil {
			t.Errorf("in another namespace, after the release: %v", err)
		}
		if err := second(); err != nil {
			t.Errorf("after the release: %v", err)
		}
		var images []struct{ RepoTags []string }
		e.Call(t, "GET", "/images/json?all=1", nil, &images)
		for _, i := range images {
			for _, tag := range append(i.RepoTags, "<none>:<none>") {
				if strings.HasPrefix(tag, "remora/lock") {
					t.Errorf("left behind: %v", i.RepoTags)
				}
			}
		}
	})
}

// TestLockOfADeadAgent: one that was killed in this namespace keeps nobody
// out, one in another for a while.
func TestLockOfADeadAgent(t *testing.T) {
	e := engines.Get(t, rig.Debian)
	dead := open(t, e)
	_, err := dead.Lock(t.Context())
	must(t, err)
	must(t, dead.Close()) // without release: the mark stays, as with a kill
	lock := func() error {
		release, err := open(t, e).Lock(t.Context())
		if err == nil {
			release()
		}
		return err
	}
	if err := e.Inside(lock); !errors.Is(err, engine.ErrLocked) || !strings.Contains(err.Error(), "if that is gone, wait") {
		t.Errorf("from another namespace: %v", err)
	}
	if err := lock(); err != nil {
		t.Errorf("from its own namespace: %v", err)
	}
}
