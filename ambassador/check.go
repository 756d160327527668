package ambassador

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/remorahq/remora/ambassador/http1"
	"github.com/remorahq/remora/internal/traffic"
)

const (
	// firstPace is the pause after the first check while warming; it doubles
	// up to the probe's interval.
	firstPace = 10 * time.Millisecond
	// listenFirst is how long a guessing probe waits for a server that speaks
	// first before it asks over HTTP.
	listenFirst = 10 * time.Millisecond
)

// health is what the checks found. It is guarded by its endpoint's lock.
type health struct {
	warm     bool
	wasWarm  bool // before it was paused: one good check is enough then
	probes   []probeState
	failure  string
	failures int
	last     time.Time
	checked  uint64
}

type probeState struct {
	risen, failed bool
	goods, bads   int
}

// checking is a running set of probes of one endpoint.
type checking struct {
	probes []traffic.Probe
	stop   context.CancelFunc
	poke   chan struct{}
}

// watch makes the endpoint's checks those of the probes, or none when it is
// not usable. The endpoint begins anew after a pause.
func (wk *Worker) watch(ev *endpointView, probes []traffic.Probe) {
	e := ev.ep
	e.mu.Lock()
	defer e.mu.Unlock()
	if !ev.usable {
		e.stopChecks()
		return
	}
	if e.check != nil && slices.Equal(e.check.probes, probes) {
		return
	}
	if e.check == nil || len(e.health.probes) != len(probes) {
		e.health.wasWarm = e.health.wasWarm || e.health.warm
		e.health.warm = len(probes) == 0
		e.health.probes = make([]probeState, len(probes))
		e.good.Store(e.health.warm)
		e.refused.Store(false)
		e.ill.Store(false)
	}
	e.stopChecks()
	ctx, stop := context.WithCancel(context.Background())
	c := &checking{probes: probes, stop: stop, poke: make(chan struct{}, 1)}
	e.check = c
	wk.background.Go(func() { wk.runChecks(ctx, e, c) })
}

func (e *endpoint) stopChecks() {
	if e.check != nil {
		e.check.stop()
		e.check = nil
	}
}

// poke makes the checks look again at once.
func (e *endpoint) poke() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.check != nil {
		select {
		case e.check.poke <- struct{}{}:
		default:
		}
	}
}

// runChecks runs all probes until ctx ends.
func (wk *Worker) runChecks(ctx context.Context, e *endpoint, c *checking) {
	var wg sync.WaitGroup
	pokes := make([]chan struct{}, len(c.probes))
	for i, p := range c.probes {
		pokes[i] = make(chan struct{}, 1)
		wg.Go(func() { wk.runProbe(ctx, e, i, p, pokes[i]) })
	}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-c.poke:
			for _, p := range pokes {
				select {
				case p <- struct{}{}:
				default:
				}
			}
			if len(c.probes) == 0 {
				wk.recover(ctx, e)
			}
		}
	}
	wg.Wait()
}

// recover waits until an endpoint without probes can be connected to again.
func (wk *Worker) recover(ctx context.Context, e *endpoint) {
	pace := firstPace
	for e.refused.Load() && sleep(ctx, nil, pace) {
		pace = min(2*pace, time.Second)
		e.mu.Lock()
		ports := make([]uint16, 0, len(e.pools))
		for port := range e.pools {
			ports = append(ports, port)
		}
		e.mu.Unlock()
		for _, port := range ports {
			if c, err := dialTwice(netip.AddrPortFrom(e.key.address, port)); err == nil {
				_ = c.Close()
				e.refused.Store(false)
				e.good.Store(true)
				wk.healthChanged(e)
			}
		}
	}
}

func (wk *Worker) runProbe(ctx context.Context, e *endpoint, i int, p traffic.Probe, poke <-chan struct{}) {
	pr := prober{Probe: p, svc: e.svc, address: e.key.address}
	interval := max(p.Interval, firstPace)
	pace := firstPace
	for {
		cctx, cancel := context.WithTimeout(ctx, max(p.Timeout, 100*time.Millisecond))
		err := pr.check(cctx)
		cancel()
		if ctx.Err() != nil {
			return
		}
		settled := wk.checked(e, i, p, err)
		if settled && (p.Once || pr.plain && p.Guess) {
			// A port that speaks no HTTP is connected to until it rises, and
			// after that only when connections fail.
			select {
			case <-ctx.Done():
				return
			case <-poke:
				pace = firstPace
				continue
			}
		}
		if settled {
			pace = interval
		}
		poked := false
		if !sleep(ctx, func() { poked = true }, pace, poke) {
			return
		}
		pace = min(2*pace, interval)
		if poked {
			pace = firstPace
		}
	}
}

// sleep waits, or until poked; false says that ctx ended.
func sleep(ctx context.Context, poked func(), d time.Duration, poke ...<-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	var ch <-chan struct{}
	if len(poke) > 0 {
		ch = poke[0]
	}
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	case <-ch:
		poked()
	}
	return true
}

// checked notes a check's result, and says whether the probe has risen and
// not failed.
func (wk *Worker) checked(e *endpoint, i int, p traffic.Probe, err error) (settled bool) {
	e.mu.Lock()
	h := &e.health
	if i >= len(h.probes) {
		e.mu.Unlock()
		return false
	}
	s := &h.probes[i]
	h.last = time.Now()
	h.checked++
	if err == nil {
		s.goods, s.bads, h.failures = s.goods+1, 0, 0
		e.strikes.Store(0)
		if rise := max(p.Rise, 1); s.goods >= rise || h.wasWarm || p.Once {
			s.risen, s.failed = true, false
		}
	} else {
		s.goods, s.bads = 0, s.bads+1
		h.failures, h.failure = h.failures+1, err.Error()
		if s.bads >= max(p.Fall, 1) {
			s.failed = true
		}
	}
	warm, good := true, true
	for _, o := range h.probes {
		warm, good = warm && o.risen, good && o.risen && !o.failed
	}
	warm = warm || h.warm
	refused := e.refused.Load()
	if err == nil {
		refused = false
	}
	changed := warm != h.warm || good != e.good.Load() || refused != e.refused.Load()
	h.warm = warm
	settled = s.risen && !s.failed
	// Under the lock: another probe's older view must not be stored after this.
	e.refused.Store(refused)
	e.good.Store(good)
	e.ill.Store(h.warm && !good)
	e.mu.Unlock()
	if changed {
		wk.healthChanged(e)
	}
	return settled
}

// healthChanged wakes the requests that wait for an endpoint, and the watchers.
func (wk *Worker) healthChanged(e *endpoint) {
	e.svc.wake.fire()
	wk.changed.fire()
}

// prober makes the checks of one probe.
type prober struct {
	traffic.Probe
	svc     *service
	address netip.Addr
	plain   bool // a guessing probe found that the port speaks no HTTP
}

// check makes one check. Its error reads like "GET /up: 500".
func (p *prober) check(ctx context.Context) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", netip.AddrPortFrom(p.address, p.Port).String())
	if err != nil {
		return fmt.Errorf("connect to port %d: %s", p.Port, cause(err))
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	switch {
	case p.HTTP != "":
		status, err := p.get(c, p.HTTP)
		if err == nil && (status < 200 || status > 399) {
			err = errors.New(strconv.Itoa(status))
		}
		if err != nil {
			return fmt.Errorf("GET %s: %w", p.HTTP, err)
		}
	case p.Guess && !p.plain:
		return p.guess(ctx, c)
	}
	return nil
}

// guess asks over HTTP and takes any status below 500; a port that answers
// something else, or first, is good when it accepts connections.
func (p *prober) guess(ctx context.Context, c net.Conn) error {
	if server, _ := p.svc.speaksFirst(p.Port); server {
		p.plain = true
		return nil
	}
	if err := c.SetReadDeadline(time.Now().Add(listenFirst)); err != nil {
		return err
	}
	var b [1]byte
	if n, _ := c.Read(b[:]); n > 0 {
		p.svc.learn(p.Port, true)
		p.plain = true
		return nil
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetReadDeadline(deadline); err != nil {
			return err
		}
	}
	status, err := p.get(c, "/")
	switch {
	case err != nil:
		p.plain = true
		return nil
	case status >= 500:
		return fmt.Errorf("GET /: %d", status)
	}
	return nil
}

// get makes one GET and returns the status.
func (p *prober) get(c net.Conn, path string) (int, error) {
	host := p.Host
	if host == "" {
		host = netip.AddrPortFrom(p.address, p.Port).String()
	}
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\nUser-Agent: remora-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"); err != nil {
		return 0, errors.New(cause(err))
	}
	br := bufio.NewReaderSize(c, http1.MaxHead)
	var res http1.Response
	for {
		if err := res.Read(br, "GET"); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return 0, errors.New("closed without an answer")
			}
			return 0, errors.New(cause(err))
		}
		if res.Status >= 200 || res.Status == 101 {
			return res.Status, nil
		}
		res.Discard(br)
	}
}
