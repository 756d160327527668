package gitsource

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remorahq/remora/internal/gitid"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// Fetches, probes and prunes beside each other, in two "processes" (two
// sources on one state folder), while commits come in.
func TestConcurrency(t *testing.T) {
	r := newRepo(t)
	r.commit("a", "0")
	src := manifests.Source{URL: r.serveHTTP((*httptest.Server).Start).url}
	state := t.TempDir()
	sources := []*Source{openSource(t, src, Options{State: state}), openSource(t, src, Options{State: state})}
	var workers sync.WaitGroup
	done := make(chan struct{})
	for i := range 6 {
		s := sources[i%2]
		workers.Go(func() {
			for {
				rev, err := s.Fetch(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				tree, err := gitid.OfPath(rev.Folder)
				if err != nil || tree.Files != 1 {
					t.Errorf("revision %s: %+v, %v", rev, tree, err)
				}
				if err := s.Prune(t.Context(), func(string) bool { return false }); err != nil {
					t.Error(err)
				}
				if _, err := s.Probe(t.Context()); err != nil {
					t.Error(err)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	var last string
	for i := range 8 {
		last = r.commit("a", fmt.Sprint(i+1))
	}
	close(done)
	workers.Wait()
	for _, s := range sources {
		if rev := mustFetch(t, s); rev.SHA != last || rev.Rewritten {
			t.Errorf("at the end: %+v, want %s", rev, last)
		}
	}
}

// An operation that waits for another gives up at its deadline and says why.
func TestLockIsBounded(t *testing.T) {
	r := newRepo(t)
	r.commit("a", "1")
	state := t.TempDir()
	src := manifests.Source{URL: r.fileURL(), Timeout: manifests.Duration(100 * time.Millisecond)}
	a, b := openSource(t, src, Options{State: state}), openSource(t, src, Options{State: state})
	release, err := a.lock.take(t.Context())
	check(t, err)
	_, err = b.Fetch(t.Context())
	wantError(t, err, status.GitOperationFailed, "no answer within 100ms")
	release()
	mustFetch(t, b)
}

func TestPrune(t *testing.T) {
	r := newRepo(t)
	s := openSource(t, manifests.Source{URL: r.fileURL()}, Options{Keep: 2})
	var all []string
	for i := range 5 {
		all = append(all, r.commit("a", fmt.Sprint(i)))
		mustFetch(t, s)
	}
	check(t, s.Prune(t.Context(), func(sha string) bool { return sha == all[0] }))
	left, err := s.revs.list()
	check(t, err)
	for i, want := range []bool{true, false, false, true, true} {
		if got := strings.Contains(strings.Join(left, " "), all[i]); got != want {
			t.Errorf("revision %d: there %v, want %v", i, got, want)
		}
	}
}

func TestLeftoversAreCleared(t *testing.T) {
	r := newRepo(t)
	sha := r.commit("a", "1")
	state := t.TempDir()
	dir := filepath.Join(state, "revisions/fleet")
	other := strings.Repeat("ab", 20)
	writeFile(t, filepath.Join(dir, ".new-1/x"), "half")
	writeFile(t, filepath.Join(dir, other, "x"), "no seal")
	writeFile(t, filepath.Join(dir, strings.Repeat("cd", 20)+".json"), "no folder")
	writeFile(t, filepath.Join(dir, "."+sha+".json.tmp-1"), "half")
	s := openSource(t, manifests.Source{URL: r.fileURL()}, Options{State: state})
	wantNames(t, dir)
	mustFetch(t, s)
	wantNames(t, dir, sha, sha+".json")
}

// A process that is killed at any moment of a fetch leaves nothing that the
// next one trips over.
func TestKilledWhileFetching(t *testing.T) {
	if url := os.Getenv("REMORA_TEST_FETCH"); url != "" {
		fetchForEver(t, url, os.Getenv("REMORA_TEST_STATE"))
		return
	}
	r := newRepo(t)
	for i := range 300 {
		r.write(fmt.Sprintf("dir%d/file%d", i%7, i), strings.Repeat("x", i))
	}
	sha := r.push("many")
	state := t.TempDir()
	for i := range 12 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledWhileFetching$")
		cmd.Env = append(os.Environ(), "REMORA_TEST_FETCH="+r.fileURL(), "REMORA_TEST_STATE="+state)
		check(t, cmd.Start())
		// It begins somewhere inside the endless fetching.
		eventually(t, "the fetch to begin", func() bool {
			list, err := filepath.Glob(filepath.Join(state, "revisions/fleet/*"))
			return err == nil && len(list) > 0
		})
		timer := time.NewTimer(time.Duration(i*i) * time.Millisecond)
		<-timer.C
		check(t, cmd.Process.Kill())
		_ = cmd.Wait() // killed
		s := openSource(t, manifests.Source{URL: r.fileURL()}, Options{State: state})
		if rev := s.Current(); !rev.IsZero() && rev.SHA != sha {
			t.Errorf("in force after a kill: %+v", rev)
		}
		rev := mustFetch(t, s)
		if tree, err := gitid.OfPath(rev.Folder); err != nil || tree.Files != 300 {
			t.Errorf("after a kill: %+v, %v", tree, err)
		}
		check(t, s.Close())
		wantNames(t, filepath.Join(state, "revisions/fleet"), sha, sha+".json")
	}
}

// fetchForEver writes the same revision again and again.
func fetchForEver(t *testing.T, url, state string) {
	s, err := New(manifests.Source{Name: "fleet", URL: url}, Options{State: state})
	check(t, err)
	for {
		rev, err := s.Fetch(context.Background())
		check(t, err)
		check(t, s.revs.remove(rev.SHA))
	}
}

func TestChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Source{poll: 30 * time.Second, done: make(chan struct{}), web: &webClient{}}
		ctx, cancel := context.WithCancel(t.Context())
		hints := s.Changes(ctx)
		other := s.Changes(t.Context())
		start := time.Now()
		for range 10 {
			<-hints
		}
		if took := time.Since(start); took < 240*time.Second || took > 360*time.Second {
			t.Errorf("ten polls took %s", took)
		}
		s.failures.Store(20)
		<-hints // the pause under way
		start = time.Now()
		<-hints
		if took := time.Since(start); took < 240*time.Second || took > 360*time.Second {
			t.Errorf("the pause after many failures was %s", took)
		}
		cancel()
		synctest.Wait()
		if _, open := <-hints; open {
			t.Error("the channel is open after the end of its context")
		}
		check(t, s.Close())
		check(t, s.Close())
		<-other // the hint that was kept
		if _, open := <-other; open {
			t.Error("the channel is open after Close")
		}
	})
}

func TestBackoff(t *testing.T) {
	for _, c := range []struct {
		interval time.Duration
		failures int
		want     time.Duration
	}{
		{30 * time.Second, 0, 30 * time.Second},
		{30 * time.Second, 1, 30 * time.Second},
		{30 * time.Second, 2, time.Minute},
		{30 * time.Second, 4, 4 * time.Minute},
		{30 * time.Second, 5, 5 * time.Minute},
		{30 * time.Second, 1000, 5 * time.Minute},
		{time.Hour, 9, time.Hour},
	} {
		if got := backoff(c.interval, c.failures); got != c.want {
			t.Errorf("backoff(%s, %d) = %s, want %s", c.interval, c.failures, got, c.want)
		}
	}
	if lo, hi := vary(10*time.Second, 0), vary(10*time.Second, 0.9999999); lo != 8*time.Second || hi > 12*time.Second || hi < 11*time.Second {
		t.Errorf("vary: %s to %s", lo, hi)
	}
}
