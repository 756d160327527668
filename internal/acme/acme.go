// Package acme has certificates issued by an authority that speaks ACME
// (RFC 8555), keeps them on disk and renews them, with certmagic. Challenges
// are answered on two loopback ports, which the ambassador leads the
// authority's requests to. It must not know routes, apps or the ambassador.
//
// Every host name is on its own: one that fails is tried again later and holds
// up no other. All methods of a [Keeper] may be called from any goroutine, also
// from [Options.Changed]. OCSP is not stapled: authorities end it, and a
// revoked certificate is replaced by renewal information (RFC 9773) instead.
package acme

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
)

// LetsEncrypt is the directory of the default authority.
const LetsEncrypt = certmagic.LetsEncryptProductionCA

// Options are what a [Keeper] needs.
type Options struct {
	// Dir is the folder of accounts, keys and certificates; hosts may share it.
	Dir string
	// Email is told to the authority; empty is none. Directory defaults to
	// [LetsEncrypt], and CAFile, PEM, to the system's authorities.
	Email, Directory, CAFile string
	// HTTP and ALPN are the challenges to use: http-01 and tls-alpn-01.
	HTTP, ALPN bool
	Log        *slog.Logger
	// Changed is called when a host name's certificate or trouble changed, and
	// must return soon.
	Changed func(host string)
	// FirstRetry is the pause after a first failure; it doubles up to six hours.
	// Default a minute.
	FirstRetry time.Duration
	// Check is how often renewals are looked for; default ten minutes.
	Check time.Duration
}

// State is how a host name stands.
type State struct {
	// Chain and Key are PEM; empty while there is no certificate.
	Chain, Key []byte
	// Trouble says why there is no certificate, or why it is not renewed, as of
	// Since; empty is none. Next is when it is tried again, zero for the next
	// check.
	Trouble string
	Since   time.Time
	Next    time.Time
}

// Keeper keeps certificates.
type Keeper struct {
	opt    Options
	magic  *certmagic.Config
	cache  *certmagic.Cache
	issuer *certmagic.ACMEIssuer
	answer *answers
	ctx    context.Context // the life of the names' goroutines, which outlive calls
	stop   context.CancelFunc
	group  sync.WaitGroup
	once   sync.Once
	closed error

	mu    sync.Mutex
	names map[string]*name
}

// name is one host name that is kept.
type name struct {
	state State
	stop  context.CancelFunc // nil until it has begun
}

// New opens the challenges' ports and begins to look for renewals; no name is
// kept yet. Call [Keeper.Close].
func New(opt Options) (*Keeper, error) {
	if !opt.HTTP && !opt.ALPN {
		return nil, errors.New("acme: no challenge is allowed")
	}
	roots, err := readRoots(opt.CAFile)
	if err != nil {
		return nil, err
	}
	if opt.FirstRetry == 0 {
		opt.FirstRetry = time.Minute
	}
	if opt.Directory == "" {
		opt.Directory = LetsEncrypt
	}
	k := &Keeper{opt: opt, names: map[string]*name{}}
	k.ctx, k.stop = context.WithCancel(context.Background())
	log := zapLogger(opt.Log)
	k.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return k.magic, nil },
		RenewCheckInterval: opt.Check, Logger: log,
	})
	k.magic = certmagic.New(k.cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: opt.Dir}, OnEvent: k.event, Logger: log,
		OCSP: certmagic.OCSPConfig{DisableStapling: true},
	})
	k.answer, err = listen(opt)
	if err != nil {
		return nil, errors.Join(err, k.Close())
	}
	k.issuer = certmagic.NewACMEIssuer(k.magic, certmagic.ACMEIssuer{
		CA: opt.Directory, Email: opt.Email, Agreed: true, TrustedRoots: roots, Logger: log,
		DisableHTTPChallenge: !opt.HTTP, DisableTLSALPNChallenge: !opt.ALPN,
		ListenHost: loopback, AltHTTPPort: int(k.answer.httpPort()), AltTLSALPNPort: int(k.answer.alpnPort()),
	})
	k.magic.Issuers = []certmagic.Issuer{silent{k.issuer}}
	k.answer.serve(k.issuer, k.magic)
	return k, nil
}

func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("ca_file %s has no PEM certificate in it", file)
	}
	return pool, nil
}

// silent never asks a person on the terminal, nor looks for an address of its
// own where none is given.
type silent struct{ *certmagic.ACMEIssuer }

// PreCheck is certmagic's, without its questions. Without an address it is
// nothing at all: certmagic would look for one in its store, take the folder of
// an account that is just being written for the address "default", and keep to
// it for the life of the process.
func (s silent) PreCheck(ctx context.Context, names []string, _ bool) error {
	if s.Email == "" {
		return nil
	}
	return s.ACMEIssuer.PreCheck(ctx, names, false)
}

// Ports are the loopback ports on which challenges are answered; 0 is a
// challenge that is not used.
func (k *Keeper) Ports() (http, alpn uint16) { return k.answer.httpPort(), k.answer.alpnPort() }

// Close ends everything and returns when it has ended.
func (k *Keeper) Close() error {
	k.once.Do(func() {
		k.mu.Lock() // no name begins after this
		k.stop()
		k.mu.Unlock()
		k.group.Wait()
		k.cache.Stop()
		k.closed = k.answer.close()
	})
	return k.closed
}
