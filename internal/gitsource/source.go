package gitsource

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/remorahq/remora/internal/atomicfile"
	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// Options of a source. State is needed by [New], all else has a default.
type Options struct {
	// State is the state folder; revisions/ and sources/ are made in it.
	State string
	// Logger defaults to none.
	Logger *slog.Logger
	// Poll is the pause between polls, default 30 s; the source's own goes
	// before it. The real pause varies by a fifth.
	Poll time.Duration
	// Keep is how many revisions stay on disk, default 10.
	Keep   int
	Limits Limits
	// Fetching is called when a new revision was found, before it is
	// downloaded; nil for none.
	Fetching func()
}

const (
	defaultPoll    = 30 * time.Second
	defaultTimeout = 60 * time.Second
	defaultKeep    = 10
	// verifyEvery is how often the files of the revision in force are read
	// and compared again.
	verifyEvery = 10 * time.Minute
)

// Source is a git repository that a host follows.
type Source struct {
	src     manifests.Source
	addr    address
	timeout time.Duration
	poll    time.Duration
	keep    int
	log     *slog.Logger
	limits  Limits
	// fetching is Options.Fetching.
	fetching func()
	web      *webClient
	lock     *lock
	store    *atomicfile.Store
	revs     *revisions

	// What follows is guarded by lock. broken says that the revision of rec is
	// known to be damaged, verified when its files were last read.
	rec      record
	broken   bool
	verified time.Time

	current  atomic.Pointer[status.Revision]
	failures atomic.Int32
	done     chan struct{}
	close    sync.Once
	watchers sync.WaitGroup
}

// New opens a source: it reads what is on disk and clears what a killed
// process left, and asks no server.
func New(src manifests.Source, opts Options) (*Source, error) {
	if err := checkSource(src.Name); err != nil {
		return nil, err
	}
	addr, err := parseAddress(src.URL)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", src.Name, err)
	}
	s := newSource(src, addr, opts)
	for _, dir := range []string{s.revs.dir, filepath.Dir(s.store.Path())} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("source %s: %w", src.Name, err)
		}
	}
	if err := s.start(); err != nil {
		return nil, fmt.Errorf("source %s: %w", src.Name, err)
	}
	return s, nil
}

func newSource(src manifests.Source, addr address, opts Options) *Source {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	limits := opts.Limits.orDefault()
	sources := filepath.Join(opts.State, "sources")
	first := src.Path
	if first == "" {
		first = "environments"
	}
	s := &Source{
		src: src, addr: addr, limits: limits, fetching: opts.Fetching,
		timeout: orElse(time.Duration(src.Timeout), defaultTimeout),
		poll:    orElse(time.Duration(src.Poll), orElse(opts.Poll, defaultPoll)),
		keep:    orElse(opts.Keep, defaultKeep),
		log:     opts.Logger.With("source", src.Name),
		web:     &webClient{limit: limits.PackBytes},
		lock:    newLock(filepath.Join(sources, src.Name+".lock")),
		store:   atomicfile.NewStore(filepath.Join(sources, src.Name+".json"), recordVersion),
		done:    make(chan struct{}),
	}
	s.revs = &revisions{dir: filepath.Join(opts.State, "revisions", src.Name), limits: limits, first: filepath.Clean(first), log: s.log}
	return s
}

func orElse[T int | time.Duration](v, d T) T {
	if v <= 0 {
		return d
	}
	return v
}

// start tidies up and finds the last good revision. A process that is using
// the source has tidied up already.
func (s *Source) start() error {
	release, alone := s.lock.try()
	if alone {
		defer release()
		if err := s.revs.tidy(); err != nil {
			return err
		}
	}
	return s.recall()
}

// recall reads the record, as this or another process left it. The lock is
// held, or nobody else has a reference yet.
func (s *Source) recall() error {
	var rec record
	recovery, err := s.store.Load(&rec)
	switch {
	case recovery != nil:
		s.log.Warn("recovered the source's record", "what", recovery.String())
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	}
	if err != nil || rec.URL != s.addr.String() || rec.Want != s.src.Ref {
		rec = record{URL: s.addr.String(), Want: s.src.Ref, Tags: rec.Tags}
	}
	former := s.rec.Revision
	s.rec = rec
	switch {
	case rec.Revision.IsZero():
	case rec.Revision.SHA == former.SHA:
		s.rec.Revision.FetchedAt = former.FetchedAt
	default:
		s.verify()
	}
	return nil
}

// verify reads the files of the revision in force, and drops it where they are
// damaged.
func (s *Source) verify() bool {
	s.verified = time.Now()
	if _, err := s.revs.check(s.rec.Revision.SHA); err != nil {
		s.log.Warn("the revision in force is damaged and must be fetched again", "revision", s.rec.Revision.String(), "error", err)
		s.broken = true
		s.current.Store(nil)
		return false
	}
	s.place(s.rec.Revision)
	return true
}

// place makes rev the one that Current returns.
func (s *Source) place(rev status.Revision) {
	rev.Source = s.src.Name
	rev.Folder = s.revs.folder(rev.SHA)
	s.rec.Revision = rev
	s.current.Store(&rev)
}

// Name returns the source's name in the host file.
func (s *Source) Name() string { return s.src.Name }

// URL returns the repository's address without credentials.
func (s *Source) URL() string { return s.addr.String() }

// Current returns the last good revision; zero where there is none yet, or
// where its files are damaged.
func (s *Source) Current() status.Revision {
	if rev := s.current.Load(); rev != nil {
		return *rev
	}
	return status.Revision{}
}

// Close ends all Changes and the connections, and returns when they have
// ended.
func (s *Source) Close() error {
	s.close.Do(func() { close(s.done) })
	s.watchers.Wait()
	s.web.Close()
	return nil
}

// Probe asks the server what the followed ref points to, and changes nothing.
func (s *Source) Probe(ctx context.Context) (Head, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, s.late())
	defer cancel()
	r, err := s.connect(ctx)
	if err != nil {
		return Head{}, s.failure(ctx, "list refs of", err)
	}
	defer func() { _ = r.Close() }() // nothing is written
	h, err := s.head(ctx, r)
	if err != nil {
		return Head{}, s.failure(ctx, "list refs of", err)
	}
	return h, nil
}

// Fetch asks the server, brings a new revision to disk if there is one, and
// returns the revision in force. On an error, which is an [*Error], the
// revision that was in force stays so.
func (s *Source) Fetch(ctx context.Context) (status.Revision, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, s.late())
	defer cancel()
	release, err := s.lock.take(ctx)
	if err != nil {
		return s.Current(), s.failure(ctx, "fetch", err)
	}
	defer release()
	if err = s.recall(); err == nil {
		err = s.fetch(ctx)
	}
	if e := s.failure(ctx, "fetch", err); e != nil && e.cause == causeLocal && ctx.Err() == nil {
		s.log.Warn("discarding the fetched files and trying again", "error", err)
		err = s.fetchAnew(ctx)
	}
	if e := s.failure(ctx, "fetch", err); e != nil {
		s.failures.Add(1)
		return s.Current(), e
	}
	s.failures.Store(0)
	return s.Current(), nil
}

// fetchAnew removes everything that a fetch could trip over and repeats it.
// The revision in force stays if it is whole.
func (s *Source) fetchAnew(ctx context.Context) error {
	if err := s.revs.tidy(); err != nil {
		return err
	}
	return s.fetch(ctx)
}

// fetch brings the record and the disk to what the server has.
func (s *Source) fetch(ctx context.Context) error {
	r, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // what counts was read and checked
	h, err := s.head(ctx, r)
	if err != nil {
		return err
	}
	if h.Full == s.rec.Full && h.Object == s.rec.Object && s.intact() {
		rev := s.rec.Revision
		rev.FetchedAt = time.Now().UTC()
		s.place(rev)
		return nil
	}
	sha, seal, err := s.bring(ctx, r, h)
	if err != nil {
		return err
	}
	rev := s.rec.accept(h, sha, seal, s.revs.folder(sha))
	rev.FetchedAt = time.Now().UTC()
	s.verified, s.broken = time.Now(), false
	s.place(rev)
	s.log.Info("fetched", "revision", rev.String(), "subject", rev.Commit.Subject, "rewritten", rev.Rewritten, "findings", len(rev.Reports))
	return s.store.Save(s.rec)
}

// bring returns the commit of a head and its seal once it is on disk.
func (s *Source) bring(ctx context.Context, r remote, h Head) (string, seal, error) {
	if h.SHA != "" {
		if known, err := s.revs.check(h.SHA); err == nil {
			return h.SHA, known, nil
		}
	}
	if s.fetching != nil {
		s.fetching()
	}
	dir, err := os.MkdirTemp(s.revs.dir, unfinished)
	if err != nil {
		return "", seal{}, fmt.Errorf("make temporary folder: %w", err)
	}
	defer func() {
		if err := atomicfile.RemoveTree(dir); err != nil {
			s.log.Warn("could not remove the temporary folder", "error", err)
		}
	}()
	o, err := r.objects(ctx, dir, plumbing.NewHash(h.Object))
	if err != nil {
		return "", seal{}, err
	}
	defer func() { _ = o.close() }() // read only
	commit, err := peel(o, plumbing.NewHash(h.Object))
	if err != nil {
		return "", seal{}, err
	}
	written, err := s.revs.write(ctx, o, commit, s.former())
	return commit.Hash.String(), written, err
}

// former returns a revision whose files can be reused.
func (s *Source) former() string {
	for _, sha := range s.rec.Recent {
		if s.revs.present(sha) {
			return sha
		}
	}
	return ""
}

// intact says whether the files of the revision in force are there; from time
// to time it reads them.
func (s *Source) intact() bool {
	switch {
	case s.broken:
		return false
	case time.Since(s.verified) < verifyEvery && s.revs.present(s.rec.Revision.SHA):
		return true
	}
	return s.verify()
}

func (s *Source) head(ctx context.Context, r remote) (Head, error) {
	adv, err := r.refs(ctx)
	if err != nil {
		return Head{}, err
	}
	return adv.resolve(s.src.Ref)
}

// connect opens the repository by its transport.
func (s *Source) connect(ctx context.Context) (remote, error) {
	var c session
	var err error
	switch s.addr.scheme {
	case "file":
		return openLocal(s.addr.path)
	case "git":
		c, err = dialGit(ctx, s.addr, s.limits.PackBytes)
	case "ssh":
		c, err = dialSSH(ctx, s.addr, s.src.Auth, s.limits.PackBytes)
	default:
		c, err = s.web.session(s.addr, s.src.Auth)
	}
	if err != nil {
		return nil, err
	}
	return &packRemote{session: c, limit: s.limits.PackBytes}, nil
}

// Prune removes revisions that are neither among the last ones in force nor
// kept by the caller.
func (s *Source) Prune(ctx context.Context, keep func(sha string) bool) error {
	release, err := s.lock.take(ctx)
	if err != nil {
		return s.failure(ctx, "prune", err)
	}
	defer release()
	present, err := s.revs.list()
	if err != nil {
		return s.failure(ctx, "prune", err)
	}
	recent := s.rec.Recent[:min(len(s.rec.Recent), s.keep)]
	for _, sha := range present {
		if slices.Contains(recent, sha) || sha == s.rec.Revision.SHA || keep(sha) {
			continue
		}
		if err := s.revs.remove(sha); err != nil {
			return s.failure(ctx, "prune", err)
		}
	}
	return nil
}

func (s *Source) late() error {
	return fmt.Errorf("%w within %s", errTimeout, s.timeout)
}

// failure completes an error with source, operation and the file to mend; nil
// stays nil.
func (s *Source) failure(ctx context.Context, op string, err error) *Error {
	if err == nil {
		return nil
	}
	e := *classify(ctx, err)
	e.Source, e.Op = s.src.Name, strings.TrimSpace(op+" "+s.addr.String())
	return refused(s.src.Auth, &e)
}
