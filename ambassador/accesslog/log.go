package accesslog

import (
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Format is how a line looks.
type Format string

// The formats.
const (
	Off      Format = ""
	JSON     Format = "json"
	Combined Format = "combined"
)

// Settings may change at any time. Zero values are the defaults.
type Settings struct {
	Format Format
	// MaxSize is about how many bytes a file has before it is renamed; default
	// 64 MiB.
	MaxSize int64
	// Keep is how many renamed files stay; default 4.
	Keep int
}

// Defaults.
const (
	DefaultMaxSize = 64 << 20
	DefaultKeep    = 4
)

const (
	// shardSize is how many bytes of lines a shard holds until they are written.
	shardSize = 512 << 10
	maxShards = 8
	// gather is how long lines wait for more of them.
	gather = 100 * time.Millisecond
)

// Stats count lines since the start.
type Stats struct {
	// Written are in the file; Dropped are not, because memory or the disk was
	// full or the file could not be written.
	Written, Dropped uint64
}

// Log is an access log. It writes nothing until [Log.Set].
type Log struct {
	settings atomic.Pointer[Settings]
	shards   []shard
	file     file
	written  atomic.Uint64
	dropped  atomic.Uint64
	wake     chan struct{} // a shard has lines
	hurry    chan struct{} // a shard is half full
	stop     chan struct{}
	stopOnce sync.Once
	done     sync.WaitGroup
	log      *slog.Logger
	failing  bool // of the writer
}

// shard is lines that wait to be written. The lock is never held while a file
// is touched.
type shard struct {
	mu    sync.Mutex
	buf   []byte
	lines uint64
	stamp stamp
	_     [64]byte // no two shards in a cache line
}

// New makes a log whose file is access.log in the folder dir, and starts its
// writer; [Log.Close] ends it.
func New(dir string, log *slog.Logger) *Log {
	l := &Log{
		file: file{dir: dir, reserve: defaultReserve}, log: log,
		shards: make([]shard, min(runtime.GOMAXPROCS(0), maxShards)),
		wake:   make(chan struct{}, 1), hurry: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	l.settings.Store(new(Settings))
	l.done.Go(l.run)
	return l
}

// Set puts settings in force, from the next line on.
func (l *Log) Set(s Settings) {
	if s.MaxSize <= 0 {
		s.MaxSize = DefaultMaxSize
	}
	if s.Keep <= 0 {
		s.Keep = DefaultKeep
	}
	if s != *l.settings.Load() {
		l.settings.Store(&s)
	}
}

// On says whether lines are written at all.
func (l *Log) On() bool { return l.settings.Load().Format != Off }

// Stats returns the counts so far.
func (l *Log) Stats() Stats { return Stats{l.written.Load(), l.dropped.Load()} }

// Write takes an entry. It neither waits for a disk nor allocates.
func (l *Log) Write(e *Entry) {
	format := l.settings.Load().Format
	if format == Off {
		return
	}
	s := l.lock()
	if s.buf == nil {
		s.buf = make([]byte, 0, shardSize)
	}
	before := len(s.buf)
	if cap(s.buf)-before < maxLine {
		s.mu.Unlock()
		l.dropped.Add(1)
		return
	}
	if format == JSON {
		s.buf = appendJSON(s.buf, &s.stamp, e)
	} else {
		s.buf = appendCombined(s.buf, &s.stamp, e)
	}
	s.lines++
	after := len(s.buf)
	s.mu.Unlock()
	switch {
	case before == 0:
		tell(l.wake)
	case before < shardSize/2 && after >= shardSize/2:
		tell(l.hurry)
	}
}

// lock locks a shard that nobody has locked, if there is one.
func (l *Log) lock() *shard {
	n := uint32(len(l.shards))
	first := rand.Uint32N(n)
	for i := range n {
		if s := &l.shards[(first+i)%n]; s.mu.TryLock() {
			return s
		}
	}
	s := &l.shards[first]
	s.mu.Lock()
	return s
}

func tell(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Close writes what is left and returns when the writer has ended. Lines
// written later are dropped in time, not counted.
func (l *Log) Close() {
	l.stopOnce.Do(func() { close(l.stop) })
	l.done.Wait()
}

// run is the writer. It sleeps while nothing happens.
func (l *Log) run() {
	spare := make([]byte, 0)
	timer := time.NewTimer(gather)
	defer timer.Stop()
	defer l.file.close()
	for {
		select {
		case <-l.wake:
		case <-l.stop:
			l.sweep(spare)
			return
		}
		timer.Reset(gather)
		select {
		case <-timer.C:
		case <-l.hurry:
		case <-l.stop:
		}
		spare = l.sweep(spare)
	}
}

// sweep writes every shard's lines and returns the buffer that is now spare.
func (l *Log) sweep(spare []byte) []byte {
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		if len(s.buf) == 0 {
			s.mu.Unlock()
			continue
		}
		if cap(spare) == 0 {
			spare = make([]byte, 0, shardSize)
		}
		lines := s.lines
		s.buf, spare, s.lines = spare[:0], s.buf, 0
		s.mu.Unlock()
		l.put(spare, lines)
	}
	return spare
}

// put appends lines to the file and tells when that begins or ceases to fail.
func (l *Log) put(b []byte, lines uint64) {
	missing, err := l.file.append(b, l.settings.Load())
	l.written.Add(lines - missing)
	l.dropped.Add(missing)
	switch {
	case err != nil && !l.failing:
		l.log.Warn("access log is not written", "err", err)
	case err == nil && l.failing:
		l.log.Info("access log is written again", "dropped", l.dropped.Load())
	}
	l.failing = err != nil
}
