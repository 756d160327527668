package gitsource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"

	"github.com/remorahq/remora/manifests"
)

// webClient keeps the connections of an http or https source between polls. It
// is made anew when the file of authorities changes.
type webClient struct {
	limit int64 // bytes of one answer

	mu        sync.Mutex
	pem       []byte
	transport *http.Transport
}

// session begins a conversation; nothing is sent yet.
func (c *webClient) session(a address, auth manifests.Auth) (session, error) {
	method, err := httpAuth(auth, a)
	if err != nil {
		return nil, err
	}
	base, err := c.current(auth.CAFile)
	if err != nil {
		return nil, err
	}
	ep, err := transport.NewEndpoint(a.String())
	if err != nil {
		return nil, errors.New("the url cannot be parsed")
	}
	client := githttp.NewClient(&http.Client{Transport: &limitedTransport{base: base, limit: c.limit}})
	return client.NewUploadPackSession(ep, method)
}

func (c *webClient) current(caFile string) (*http.Transport, error) {
	config, pem, err := tlsConfig(caFile)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.transport != nil && bytes.Equal(pem, c.pem) {
		return c.transport, nil
	}
	if c.transport != nil {
		c.transport.CloseIdleConnections()
	}
	c.pem = pem
	c.transport = &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   10 * time.Second,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          2,
		IdleConnTimeout:       2 * time.Minute,
		ExpectContinueTimeout: time.Second,
	}
	return c.transport, nil
}

// Close ends idle connections.
func (c *webClient) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.transport != nil {
		c.transport.CloseIdleConnections()
	}
}

// limitedTransport bounds what a server can make us read.
type limitedTransport struct {
	base  http.RoundTripper
	limit int64
}

// RoundTrip implements [http.RoundTripper].
func (t *limitedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := t.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	limit := t.limit
	if res.StatusCode != http.StatusOK {
		limit = 64 << 10
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{&limitedReader{r: res.Body, left: limit, limit: limit}, res.Body}
	return res, nil
}

// limitedReader fails, unlike [io.LimitedReader], which ends.
type limitedReader struct {
	r           io.Reader
	left, limit int64
}

// Read implements [io.Reader].
func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("%w of %d MiB", errTooLarge, l.limit>>20)
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

// closeOn closes c when ctx ends; the returned function stops that.
func closeOn(ctx context.Context, c io.Closer) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = c.Close() }) // the blocked call reports it
}
