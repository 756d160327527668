package acme

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
)

const loopback = "127.0.0.1"

// answers are the listeners on which challenges are answered. They stay open,
// so that the ambassador's table need not change for each challenge; certmagic
// finds its ports taken and leaves the answers to them.
type answers struct {
	http, alpn net.Listener // nil: not used
	log        *slog.Logger
	server     http.Server
	group      sync.WaitGroup
}

// listen opens the ports.
func listen(opt Options) (*answers, error) {
	a := &answers{log: opt.Log}
	for _, l := range []struct {
		on   bool
		into *net.Listener
	}{{opt.HTTP, &a.http}, {opt.ALPN, &a.alpn}} {
		if !l.on {
			continue
		}
		var err error
		if *l.into, err = net.Listen("tcp", net.JoinHostPort(loopback, "0")); err != nil {
			return a, fmt.Errorf("listen for challenges: %w", err)
		}
	}
	return a, nil
}

func portOf(l net.Listener) uint16 {
	if l == nil {
		return 0
	}
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

func (a *answers) httpPort() uint16 { return portOf(a.http) }
func (a *answers) alpnPort() uint16 { return portOf(a.alpn) }

// serve answers the challenges of an issuer.
func (a *answers) serve(issuer *certmagic.ACMEIssuer, magic *certmagic.Config) {
	a.server = http.Server{
		Handler: issuer.HTTPChallengeHandler(http.NotFoundHandler()), ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
		ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	if a.http != nil {
		a.group.Go(func() { _ = a.server.Serve(a.http) })
	}
	if a.alpn != nil {
		a.group.Go(func() { a.handshakes(magic.TLSConfig()) })
	}
}

// handshakes shows the certificates of tls-alpn-01, which are all that such a
// connection is for (RFC 8737).
func (a *answers) handshakes(cfg *tls.Config) {
	for {
		c, err := a.alpn.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of descriptors
			continue
		}
		a.group.Go(func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			if err := tls.Server(c, cfg).Handshake(); err != nil {
				a.log.Debug("acme: tls-alpn-01", "err", err)
			}
		})
	}
}

func (a *answers) close() error {
	if a == nil {
		return nil
	}
	err := a.server.Close()
	for _, l := range []net.Listener{a.http, a.alpn} {
		if l == nil {
			continue
		}
		if cerr := l.Close(); cerr != nil && !errors.Is(cerr, net.ErrClosed) {
			err = errors.Join(err, cerr)
		}
	}
	a.group.Wait()
	return err
}
