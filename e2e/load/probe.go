package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Probe asks one address over a connection of its own which release answers.
// Its requests carry no ID and are in no account. It is used by one goroutine.
type Probe struct {
	Dial Dial
	Addr string

	conn net.Conn
	in   *bufio.Reader
}

// Close closes the connection.
func (p *Probe) Close() {
	if p.conn != nil {
		_ = p.conn.Close() // nothing is expected of it any more
		p.conn = nil
	}
}

// Until asks every millisecond until the version answers, and returns when it
// did.
func (p *Probe) Until(ctx context.Context, version string) (time.Time, error) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		got, err := p.Ask(ctx)
		if err == nil && got == version {
			return time.Now(), nil
		}
		select {
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("%s is not answered by %s but by %q: %w", p.Addr, version, got, errors.Join(err, ctx.Err()))
		case <-tick.C:
		}
	}
}

// Ask makes one request and returns the version that answered it well.
func (p *Probe) Ask(ctx context.Context) (version string, err error) {
	if p.conn == nil {
		if p.conn, err = p.Dial(ctx, "tcp", p.Addr); err != nil {
			p.conn = nil
			return "", fmt.Errorf("connect: %w", err)
		}
		p.in = bufio.NewReader(p.conn)
	}
	if version, err = p.ask(); err != nil {
		p.Close()
	}
	return version, err
}

func (p *Probe) ask() (string, error) {
	if err := p.conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(p.conn, "GET /health HTTP/1.1\r\nHost: probe\r\n\r\n"); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(p.in, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d", resp.StatusCode)
	}
	return resp.Header.Get("X-Version"), nil
}
