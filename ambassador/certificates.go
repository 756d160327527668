package ambassador

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/remorahq/remora/ambassador/control"
	"github.com/remorahq/remora/internal/traffic"
)

// CertificatesFile is the name of the certificates' file in the state folder.
const CertificatesFile = "certificates.json"

// certificate is one of the agent's certificates made ready. It is immutable.
type certificate struct {
	spec  traffic.Certificate
	chain []*x509.Certificate
	pair  *tls.Certificate // nil for authorities
	pool  *x509.CertPool   // nil for a pair
	sum   [sha256.Size]byte
	err   error
}

// certificateSet is all that there are, by name. It is immutable.
type certificateSet struct {
	list   []*certificate
	byName map[string]*certificate
}

// newCertificateSet makes certificates ready. One that is broken is an error
// of its own; what did not change since before is taken from there.
func newCertificateSet(list []traffic.Certificate, before *certificateSet) *certificateSet {
	s := &certificateSet{byName: make(map[string]*certificate, len(list))}
	for _, spec := range list {
		if s.byName[spec.Name] != nil {
			continue
		}
		c := before.get(spec.Name)
		if c == nil || !sameCertificate(c.spec, spec) {
			c = newCertificate(spec)
		}
		s.byName[spec.Name] = c
		s.list = append(s.list, c)
	}
	return s
}

func sameCertificate(a, b traffic.Certificate) bool {
	return a.Name == b.Name && bytes.Equal(a.Chain, b.Chain) && bytes.Equal(a.Key, b.Key)
}

func (s *certificateSet) get(name string) *certificate {
	if s == nil {
		return nil
	}
	return s.byName[name]
}

func (s *certificateSet) specs() []traffic.Certificate {
	var list []traffic.Certificate
	for _, c := range s.list {
		list = append(list, c.spec)
	}
	return list
}

func newCertificate(spec traffic.Certificate) *certificate {
	c := &certificate{spec: spec, sum: sha256.Sum256(spec.Chain)}
	if len(spec.Key) == 0 {
		c.err = c.parseAuthorities()
		return c
	}
	pair, err := tls.X509KeyPair(spec.Chain, spec.Key)
	if err != nil {
		c.err = fmt.Errorf("the pair cannot be used: %w", err)
		return c
	}
	c.pair, c.chain = &pair, []*x509.Certificate{pair.Leaf}
	return c
}

func (c *certificate) parseAuthorities() error {
	c.pool = x509.NewCertPool()
	for block, rest := pem.Decode(c.spec.Chain); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		x, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("the authorities cannot be read: %w", err)
		}
		c.pool.AddCert(x)
		c.chain = append(c.chain, x)
	}
	if len(c.chain) == 0 {
		return errors.New("no certificate of an authority is in it")
	}
	return nil
}

func (c *certificate) report() traffic.CertificateReport {
	r := traffic.CertificateReport{Name: c.spec.Name, Authorities: len(c.spec.Key) == 0}
	if c.err != nil {
		r.Error = c.err.Error()
		return r
	}
	for _, x := range c.chain {
		r.Subjects = append(r.Subjects, subjects(x, r.Authorities)...)
		if r.NotAfter.IsZero() || x.NotAfter.Before(r.NotAfter) {
			r.Issuer, r.NotBefore, r.NotAfter = x.Issuer.String(), x.NotBefore, x.NotAfter
		}
	}
	return r
}

// subjects are the names that a certificate is for, or its own name.
func subjects(x *x509.Certificate, authority bool) []string {
	if authority {
		return []string{x.Subject.String()}
	}
	names := slices.Clone(x.DNSNames)
	for _, ip := range x.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		names = append(names, x.Subject.String())
	}
	return names
}

// usable returns the certificate of a name that can be used, or says why there
// is none.
func (s *certificateSet) usable(name string) (*certificate, error) {
	switch c := s.get(name); {
	case c == nil:
		return nil, errors.New("there is no such certificate yet")
	case c.err != nil:
		return nil, c.err
	default:
		return c, nil
	}
}

// PutCertificates puts all certificates in the place of those before, for the
// next handshakes, and on disk. One that cannot be used is no error: the report
// names the server names that miss it.
func (wk *Worker) PutCertificates(_ context.Context, certs *traffic.Certificates) error {
	wk.mu.Lock()
	defer wk.mu.Unlock()
	if !wk.leads {
		return control.ErrNotLeading
	}
	if certs.Version != traffic.CertificatesVersion {
		return fmt.Errorf("certificates have version %d, this ambassador knows %d", certs.Version, traffic.CertificatesVersion)
	}
	now := wk.secure.certs.Load()
	same := slices.EqualFunc(now.specs(), certs.List, sameCertificate)
	if same && !wk.secure.unsaved {
		return nil
	}
	if !same {
		wk.secure.certs.Store(newCertificateSet(certs.List, now))
		wk.secure.unsaved = true
		wk.changed.fire()
	}
	if err := wk.secure.certFile.Save(certs); err != nil {
		return fmt.Errorf("%w: %w", control.ErrNotPersisted, err)
	}
	wk.secure.unsaved = false
	return nil
}

// Certificates lists what there is.
func (wk *Worker) Certificates() []traffic.CertificateReport {
	list := make([]traffic.CertificateReport, 0)
	for _, c := range wk.secure.certs.Load().list {
		list = append(list, c.report())
	}
	slices.SortFunc(list, func(a, b traffic.CertificateReport) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// loadCertificates takes the certificates on disk. Without any it is no error.
func (s *secrets) loadCertificates() (recovered string, err error) {
	certs := new(traffic.Certificates)
	recovery, err := s.certFile.Load(certs)
	if recovery != nil {
		recovered = recovery.String()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return recovered, nil
	case err != nil:
		return recovered, fmt.Errorf("load certificates: %w", err)
	}
	s.certs.Store(newCertificateSet(certs.List, s.certs.Load()))
	return recovered, nil
}

// writeCertificateMetrics writes when certificates end.
func (wk *Worker) writeCertificateMetrics(w *bufio.Writer) {
	writeHead(w, "certificate_expiry_seconds", "gauge", "When a certificate ends, in seconds since 1970.")
	for _, r := range wk.Certificates() {
		if r.Error == "" {
			fmt.Fprintf(w, "%scertificate_expiry_seconds{certificate=%q} %d\n", metricPrefix, label(r.Name), r.NotAfter.Unix())
		}
	}
}
