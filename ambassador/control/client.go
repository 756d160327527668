package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

// Client calls the ambassador. It may be used concurrently. A call while the
// ambassador's worker restarts waits until its context ends.
type Client struct {
	path string
	http *http.Client
}

// NewClient returns a client for the socket's path, such as
// /run/remora/ambassador.sock. Nothing is dialled yet.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableCompression: true, DisableKeepAlives: true}}}
}

// Close releases what the client holds; calls under way are not ended.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// A worker that is replaced breaks off the calls it has, and all but Upgrade
// may be made again: a table is known by its generation.
const (
	callAttempts = 10
	callPause    = 20 * time.Millisecond
)

// Put replaces the table and returns once all live workers serve it and it is
// on disk. Listeners that could not be opened are in the Ack. Errors to branch
// on: [*StaleError], [ErrNotPersisted] (the Ack is valid then). A call that
// broke off may be repeated with the same table.
func (c *Client) Put(ctx context.Context, t *traffic.Table) (traffic.Ack, error) {
	body, err := json.Marshal(t)
	if err != nil {
		return traffic.Ack{}, fmt.Errorf("encode table: %w", err)
	}
	var ack traffic.Ack
	err = c.call(ctx, http.MethodPut, "/v1/table", body, &ack)
	return ack, err
}

// Table returns the table in force; its generation is 0 when there is none.
func (c *Client) Table(ctx context.Context) (*traffic.Table, error) {
	t := new(traffic.Table)
	return t, c.call(ctx, http.MethodGet, "/v1/table", nil, t)
}

// Report returns the present state, merged over all live workers.
func (c *Client) Report(ctx context.Context) (traffic.Report, error) {
	var r traffic.Report
	return r, c.call(ctx, http.MethodGet, "/v1/report", nil, &r)
}

// Metrics returns the metrics in Prometheus' text form.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	var text []byte
	return text, c.call(ctx, http.MethodGet, "/v1/metrics", nil, &text)
}

// Explain asks what would become of a request for a URL now.
func (c *Client) Explain(ctx context.Context, rawURL string) (traffic.Explanation, error) {
	var e traffic.Explanation
	return e, c.call(ctx, http.MethodGet, "/v1/explain?url="+url.QueryEscape(rawURL), nil, &e)
}

// Upgrade starts a new worker from the program's file and returns when it
// leads; its predecessor drains.
func (c *Client) Upgrade(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/upgrade", nil, nil)
}

// Watch yields the present report and then one at every change of what a
// rollout waits for: generation, warm and good endpoints, drained releases,
// held requests beginning or ending, listeners. Counters are as of then. It
// ends with an error when the stream breaks (the worker was replaced): call
// it again.
func (c *Client) Watch(ctx context.Context) iter.Seq2[traffic.Report, error] {
	return func(yield func(traffic.Report, error) bool) {
		resp, err := c.do(ctx, http.MethodGet, "/v1/watch", nil)
		if err != nil {
			yield(traffic.Report{}, err)
			return
		}
		defer resp.Body.Close()
		lines := bufio.NewReader(resp.Body)
		for {
			r, err := nextEvent(lines)
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

func nextEvent(lines *bufio.Reader) (traffic.Report, error) {
	var r traffic.Report
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return r, fmt.Errorf("watch the ambassador: %w", err)
		}
		data, ok := bytes.CutPrefix(line, []byte("data: "))
		if !ok {
			continue
		}
		if err := json.Unmarshal(data, &r); err != nil {
			return r, fmt.Errorf("watch the ambassador: decode report: %w", err)
		}
		return r, nil
	}
}

func (c *Client) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://ambassador"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("call the ambassador: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("call the ambassador at %s: %w", c.path, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, readFailure(resp)
}

// again makes a call that a change of workers broke off once more.
func (c *Client) again(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		resp, err := c.do(ctx, method, path, body)
		var dial *net.OpError
		broken := errors.As(err, new(*url.Error)) && (!errors.As(err, &dial) || dial.Op != "dial")
		if err == nil || method == http.MethodPost || attempt == callAttempts || !broken && !errors.Is(err, ErrNotLeading) {
			return resp, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(callPause):
		}
	}
}

// call decodes a success into out, or copies it when out is bytes.
func (c *Client) call(ctx context.Context, method, path string, body []byte, out any) error {
	resp, err := c.again(ctx, method, path, body)
	if err != nil {
		var np *notPersisted
		if ack, ok := out.(*traffic.Ack); ok && errors.As(err, &np) {
			*ack = np.ack
		}
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxTable))
	if err != nil {
		return fmt.Errorf("read the ambassador's answer: %w", err)
	}
	switch out := out.(type) {
	case nil:
		return nil
	case *[]byte:
		*out = data
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("decode the ambassador's answer: %w", err)
	}
	return nil
}

// notPersisted carries the Ack of a table that is served but not on disk.
type notPersisted struct {
	ack  traffic.Ack
	text string
}

func (e *notPersisted) Error() string { return e.text }
func (e *notPersisted) Unwrap() error { return ErrNotPersisted }

func readFailure(resp *http.Response) error {
	var f failure
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&f); err != nil {
		return fmt.Errorf("the ambassador answered %s", resp.Status)
	}
	switch {
	case f.Stale != nil:
		return f.Stale
	case resp.StatusCode == http.StatusServiceUnavailable:
		return fmt.Errorf("%w: %s", ErrNotLeading, f.Error)
	case f.NotPersisted && f.Ack != nil:
		return &notPersisted{ack: *f.Ack, text: f.Error}
	}
	return fmt.Errorf("the ambassador answered %s: %s", resp.Status, f.Error)
}
