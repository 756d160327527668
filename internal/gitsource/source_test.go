package gitsource

import (
	"errors"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/remorahq/remora/internal/atomicfile"
	"github.com/remorahq/remora/internal/gitid"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openSource(t testing.TB, src manifests.Source, opts Options) *Source {
	t.Helper()
	if src.Name == "" {
		src.Name = "fleet"
	}
	if opts.State == "" {
		opts.State = t.TempDir()
	}
	s, err := New(src, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		makeRemovable(t, opts.State)
	})
	return s
}

// makeRemovable lets the test's own clean-up remove read-only folders.
func makeRemovable(t testing.TB, dir string) {
	if err := atomicfile.RemoveTree(filepath.Join(dir, "revisions")); err != nil {
		t.Error(err)
	}
}

func mustFetch(t testing.TB, s *Source) status.Revision {
	t.Helper()
	rev, err := s.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

// Every transport brings the same commit to the same files.
func TestTransports(t *testing.T) {
	r := newRepo(t)
	r.write("base/common.yaml", "services: {}\n")
	r.write("environments/production/shop/compose.yaml", "services: {web: {image: shop}}\n")
	r.write("environments/production/shop/run.sh", "#!/bin/sh\n")
	if err := os.Chmod(filepath.Join(r.work, "environments/production/shop/run.sh"), 0o775); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../../base/common.yaml", filepath.Join(r.work, "environments/production/shop/common.yaml")); err != nil {
		t.Fatal(err)
	}
	sha := r.push("ship v1\n\nlong text")

	sshd := r.serveSSH()
	urls := map[string]manifests.Source{
		"file": {URL: r.fileURL()},
		"work": {URL: "file://" + r.work},
		"git":  {URL: r.serveGit()},
		"http": {URL: r.serveHTTP((*httptest.Server).Start).url},
		"ssh":  {URL: sshd.url, Auth: manifests.Auth{KeyFile: sshd.userKey, KnownHosts: sshd.knownHosts}},
	}
	for name, src := range urls {
		for _, ref := range []string{"", "main", "refs/heads/main"} {
			t.Run(name+"/"+strings.ReplaceAll(ref, "/", "_"), func(t *testing.T) {
				src.Ref = ref
				s := openSource(t, src, Options{})
				head, err := s.Probe(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(Head{Ref: "main", Full: "refs/heads/main", Object: sha, SHA: sha}, head); diff != "" {
					t.Errorf("probe (-want +got):\n%s", diff)
				}
				checkFirst(t, r, mustFetch(t, s), sha)
			})
		}
	}
}

func checkFirst(t *testing.T, r *repo, rev status.Revision, sha string) {
	t.Helper()
	want := status.Revision{
		Source: "fleet", Ref: "main", SHA: sha, Folder: rev.Folder, FetchedAt: rev.FetchedAt,
		Commit: status.Commit{
			Author: "Ada <ada@example.com>", Committer: "Bob <bob@example.com>", Subject: "ship v1",
			Time: rev.Commit.Time,
		},
	}
	if diff := cmp.Diff(want, rev); diff != "" {
		t.Errorf("revision (-want +got):\n%s", diff)
	}
	if rev.String() != "main@sha1:"+sha[:8] {
		t.Errorf("revision reads %s", rev)
	}
	tree, err := gitid.OfPath(rev.Folder)
	if err != nil {
		t.Fatal(err)
	}
	if want := r.git(r.work, "rev-parse", sha+"^{tree}"); tree.ID != want {
		t.Errorf("the files have the tree %s, want %s", tree.ID, want)
	}
	modes := map[string]fs.FileMode{
		".":                                   fs.ModeDir | 0o555,
		"base":                                fs.ModeDir | 0o555,
		"base/common.yaml":                    0o644,
		"environments/production/shop/run.sh": 0o755,
	}
	for name, want := range modes {
		if info, err := os.Lstat(filepath.Join(rev.Folder, name)); err != nil || info.Mode() != want {
			t.Errorf("%s: mode %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
	if got := readFile(t, filepath.Join(rev.Folder, "environments/production/shop/common.yaml")); got != "services: {}\n" {
		t.Errorf("through the link: %q", got)
	}
}

func TestAdvanceAndUnchanged(t *testing.T) {
	r := newRepo(t)
	first := r.commit("environments/prod/a", "1")
	web := r.serveHTTP((*httptest.Server).Start)
	s := openSource(t, manifests.Source{URL: web.url}, Options{})
	one := mustFetch(t, s)
	again := mustFetch(t, s)
	if again.SHA != one.SHA || again.FetchedAt.Before(one.FetchedAt) {
		t.Errorf("unchanged: %+v after %+v", again, one)
	}
	if got := web.requests.Load(); got != 3 {
		t.Errorf("%d requests for one fetch and one poll without a change, want 3", got)
	}
	second := r.commit("environments/prod/a", "2")
	two := mustFetch(t, s)
	if two.SHA != second || two.Previous != first || two.Rewritten || two.HistoryUnknown {
		t.Errorf("advance: %+v", two)
	}
	if diff := cmp.Diff([]string{first}, two.Commit.Parents); diff != "" {
		t.Error(diff)
	}
	if readFile(t, filepath.Join(one.Folder, "environments/prod/a"))+readFile(t, filepath.Join(two.Folder, "environments/prod/a")) != "12" {
		t.Error("the folders do not hold their own revisions")
	}
	if s.Current().SHA != second {
		t.Errorf("current is %v", s.Current())
	}
}

// wantError checks the reason and that each of the words is in the message.
func wantError(t *testing.T, err error, reason status.Reason, words ...string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an Error", err)
	}
	if e.Reason != reason {
		t.Errorf("reason %s, want %s: %v", e.Reason, reason, err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("message %q lacks %q", err, word)
		}
	}
}
