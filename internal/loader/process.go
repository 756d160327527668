package loader

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// process is one loader process that has been started and waits for its
// request.
type process struct {
	cmd          *exec.Cmd
	stdin        io.WriteCloser
	answer, errs *capped
}

// start starts a process.
func (l *Loader) start() (*process, error) {
	command := l.command
	if len(command) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find own program: %w", err)
		}
		command = []string{self, "load"}
	}
	p := &process{cmd: exec.Command(command[0], command[1:]...), answer: &capped{left: maxAnswer}, errs: &capped{left: maxErrors}}
	p.cmd.Stdout, p.cmd.Stderr = p.answer, p.errs
	p.cmd.Env = []string{"GOTRACEBACK=single", "GOMAXPROCS=2"}
	p.cmd.WaitDelay = time.Second
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	return p, p.cmd.Start()
}

// ask hands the request over and waits for the process's end, at most limit:
// then it is killed and the error is context.DeadlineExceeded.
func (p *process) ask(ctx context.Context, question []byte, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var writing sync.WaitGroup
	writing.Go(func() {
		_, _ = p.stdin.Write(question) // a process that ended says why itself
		_ = p.stdin.Close()
	})
	killed := context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })
	err := p.cmd.Wait()
	writing.Wait()
	if !killed() {
		return ctx.Err()
	}
	return err
}

// used is the CPU time that the process took.
func (p *process) used() time.Duration {
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
}

// end ends a process that was asked nothing.
func (p *process) end() {
	_ = p.cmd.Process.Kill()
	_ = p.stdin.Close()
	_ = p.cmd.Wait() // killed: no error says more
}

// spareFor is how long a process that was started beforehand waits for its
// request.
const spareFor = 5 * time.Second

// spare is at most one process that was started beforehand.
type spare struct {
	mu      sync.Mutex
	process *process
	timer   *time.Timer
}

// Expect has a process started beforehand, as a request is to be expected
// within seconds: its start takes as long as the loading of a small app.
func (l *Loader) Expect() {
	l.spare.mu.Lock()
	defer l.spare.mu.Unlock()
	if l.spare.process != nil {
		return
	}
	p, err := l.start()
	if err != nil {
		return // the request itself will say so
	}
	l.spare.process = p
	l.spare.timer = time.AfterFunc(spareFor, l.Close)
}

// Close ends a process that waits for a request; the loader may be used again.
func (l *Loader) Close() {
	if p := l.spare.get(); p != nil {
		p.end()
	}
}

// get takes the waiting process away, or returns nil.
func (s *spare) get() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.process
	if p != nil {
		s.timer.Stop()
	}
	s.process, s.timer = nil, nil
	return p
}

// take returns the waiting process, or a new one.
func (s *spare) take(start func() (*process, error)) (*process, error) {
	if p := s.get(); p != nil {
		return p, nil
	}
	return start()
}

// capped keeps at most so many bytes and then refuses.
type capped struct {
	buf  bytes.Buffer
	left int
	over bool
}

func (c *capped) Write(p []byte) (int, error) {
	if len(p) > c.left {
		c.over = true
		return 0, io.ErrShortWrite
	}
	c.left -= len(p)
	return c.buf.Write(p)
}
