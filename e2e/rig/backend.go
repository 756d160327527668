package rig

import (
	"bufio"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/remorahq/remora/e2e/testprogram/jobqueue"
)

// Queue is a job queue that the test itself serves.
type Queue struct {
	*jobqueue.Queue
	URL string // for APP_QUEUE_URL
}

// StartQueue serves a queue of size jobs on an address of this machine, such
// as [Engine.HostAddr], until the test ends.
func StartQueue(t TB, addr string, size int) *Queue {
	t.Helper()
	q := jobqueue.New(size)
	return &Queue{Queue: q, URL: serveHTTP(t, addr, q).URL}
}

// serveHTTP serves h on a free port of the address.
func serveHTTP(t TB, addr string, h http.Handler) *httptest.Server {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
	must(t, "listen", err)
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// Entry is one line of a test program's own account: a request that it
// received, written before it answered.
type Entry struct {
	At                time.Time
	Kind              string // method, or TCP, JOB, TICK, ONCE
	ID                string // X-Request-ID; "-" when there was none
	Version, Instance string
	What              string // path
}

// Collector receives the accounts of test programs over TCP: what a program
// sent arrives even when it is killed the moment after. It is safe for
// concurrent use.
type Collector struct {
	Record string // for APP_RECORD

	listener net.Listener
	work     sync.WaitGroup
	mu       sync.Mutex
	conns    map[net.Conn]bool
	closed   bool
	entries  []Entry
}

// StartCollector collects on an address of this machine, such as
// [Engine.HostAddr], until the test ends.
func StartCollector(t TB, addr string) *Collector {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
	must(t, "listen", err)
	c := &Collector{Record: "tcp:" + l.Addr().String(), listener: l, conns: map[net.Conn]bool{}}
	c.work.Go(c.accept)
	t.Cleanup(c.close)
	return c
}

// Entries is a copy of all entries so far, in the order of their arrival.
func (c *Collector) Entries() []Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Entry(nil), c.entries...)
}

func (c *Collector) accept() {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return // closed
		}
		c.mu.Lock()
		c.conns[conn] = true
		if c.closed {
			conn.Close()
		}
		c.mu.Unlock()
		c.work.Go(func() { c.read(conn) })
	}
}

func (c *Collector) read(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		entry, ok := parseEntry(lines.Text())
		c.mu.Lock()
		if ok {
			c.entries = append(c.entries, entry)
		}
		c.mu.Unlock()
	}
	c.mu.Lock()
	delete(c.conns, conn)
	c.mu.Unlock()
}

func parseEntry(line string) (Entry, bool) {
	f := strings.SplitN(line, " ", 6)
	if len(f) != 6 {
		return Entry{}, false
	}
	ns, err := strconv.ParseInt(f[0], 10, 64)
	return Entry{time.Unix(0, ns), f[1], f[2], f[3], f[4], f[5]}, err == nil
}

func (c *Collector) close() {
	c.listener.Close()
	c.mu.Lock()
	c.closed = true
	for conn := range c.conns {
		conn.Close()
	}
	c.mu.Unlock()
	c.work.Wait()
}
