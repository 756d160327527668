package ambassador

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/net/http2"

	"github.com/remorahq/remora/internal/traffic"
)

// serverNames finds what a TLS listener does for a server name. It is
// immutable; only the configurations in it are made on demand.
type serverNames struct {
	exact map[string][]*serverName
	wild  []wildName // the longest first
	any   []*serverName
	// authorities says that some name asks for clients' certificates.
	authorities bool
}

// wildName holds the entries of "*.example.com" under ".example.com".
type wildName struct {
	suffix string
	list   []*serverName
}

type serverName struct {
	spec traffic.ServerName
	// route is where a connection is passed through to; nil where TLS ends here.
	route  *routeView
	config atomic.Pointer[nameConfig]
}

// nameConfig is how TLS is ended for a name, made from one set of certificates
// and of keys.
type nameConfig struct {
	certs   *certificateSet
	tickets *ticketFile
	tls     *tls.Config
}

// newServerNames makes the names of a listener; nil where it is not for TLS.
// passed are the routes of those that are passed through, in their order.
func newServerNames(l traffic.Listener, passed []*routeView) *serverNames {
	if l.Protocol != traffic.TLS {
		return nil
	}
	ns := &serverNames{exact: make(map[string][]*serverName)}
	wild := make(map[string][]*serverName)
	for _, spec := range l.TLS {
		n := &serverName{spec: spec}
		if spec.Certificate == "" {
			n.route, passed = passed[0], passed[1:]
		}
		ns.authorities = ns.authorities || spec.ClientCA != ""
		name := strings.ToLower(strings.TrimSuffix(spec.Name, "."))
		suffix, isWild := strings.CutPrefix(name, "*")
		switch {
		case suffix == "":
			ns.any = append(ns.any, n)
		case isWild:
			wild[suffix] = append(wild[suffix], n)
		default:
			ns.exact[name] = append(ns.exact[name], n)
		}
	}
	for suffix, list := range wild {
		ns.wild = append(ns.wild, wildName{suffix, list})
	}
	slices.SortFunc(ns.wild, func(a, b wildName) int {
		return cmp.Or(cmp.Compare(len(b.suffix), len(a.suffix)), strings.Compare(a.suffix, b.suffix))
	})
	return ns
}

// find returns the entry for a name in lower case without a final dot and the
// protocols that a client offers, or nil. It allocates nothing.
func (ns *serverNames) find(name []byte, alpn []string) *serverName {
	if n := offered(ns.exact[string(name)], alpn); n != nil {
		return n
	}
	for _, w := range ns.wild {
		if len(name) > len(w.suffix) && bytes.HasSuffix(name, []byte(w.suffix)) {
			if n := offered(w.list, alpn); n != nil {
				return n
			}
		}
	}
	return offered(ns.any, alpn)
}

// offered returns the entry that is for one of the client's protocols, else
// the one that is for all.
func offered(list []*serverName, alpn []string) *serverName {
	var general *serverName
	for _, n := range list {
		switch {
		case n.spec.ALPN == "":
			general = cmp.Or(general, n)
		case slices.Contains(alpn, n.spec.ALPN):
			return n
		}
	}
	return general
}

// configure returns how TLS is ended for a name at present, or says why it
// cannot be.
func (s *secrets) configure(n *serverName) (*tls.Config, error) {
	certs, tickets := s.certs.Load(), s.tickets.Load()
	if c := n.config.Load(); c != nil && c.certs == certs && c.tickets == tickets {
		return c.tls, nil
	}
	cfg, err := s.newConfig(&n.spec, certs, tickets)
	if err != nil {
		return nil, err
	}
	n.config.Store(&nameConfig{certs, tickets, cfg})
	return cfg, nil
}

func (s *secrets) newConfig(spec *traffic.ServerName, certs *certificateSet, tickets *ticketFile) (*tls.Config, error) {
	cert, err := certs.usable(spec.Certificate)
	switch {
	case err != nil:
		return nil, fmt.Errorf("certificate %s: %w", spec.Certificate, err)
	case cert.pair == nil:
		return nil, fmt.Errorf("certificate %s has no key", spec.Certificate)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{*cert.pair}, MinVersion: tls.VersionTLS12, NextProtos: protocols()}
	label := spec.Name
	if spec.ClientCA != "" {
		ca, err := certs.usable(spec.ClientCA)
		switch {
		case err != nil:
			return nil, fmt.Errorf("authorities of clients %s: %w", spec.ClientCA, err)
		case ca.pool == nil:
			return nil, fmt.Errorf("%s is a pair and no authorities of clients", spec.ClientCA)
		}
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, ca.pool
		label += " " + hex.EncodeToString(ca.sum[:])
	}
	keys, err := tickets.derive(label)
	if err != nil {
		return nil, err
	}
	if len(keys) > 0 {
		cfg.SetSessionTicketKeys(keys)
	} else {
		cfg.SessionTicketsDisabled = true
	}
	return cfg, nil
}

// protocols are what TLS clients are offered, the preferred first.
func protocols() []string { return []string{http2.NextProtoTLS, "http/1.1"} }

// nameFailures are the server names of a view that cannot be served.
func (wk *Worker) nameFailures(v *view) []traffic.NameFailure {
	var list []traffic.NameFailure
	for i := range v.table.Listeners {
		lv := v.listeners[v.table.Listeners[i].ListenerKey]
		if lv == nil || lv.names == nil {
			continue
		}
		for _, n := range lv.names.all() {
			if n.spec.Certificate == "" {
				continue
			}
			if _, err := wk.secure.configure(n); err != nil {
				list = append(list, traffic.NameFailure{ListenerKey: lv.spec.ListenerKey, Name: n.spec.Name, Certificate: n.spec.Certificate, Error: err.Error()})
			}
		}
	}
	slices.SortFunc(list, func(a, b traffic.NameFailure) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), strings.Compare(a.Namespace, b.Namespace), a.Address.Compare(b.Address), strings.Compare(a.Name, b.Name))
	})
	return list
}

func (ns *serverNames) all() []*serverName {
	list := slices.Clone(ns.any)
	for _, w := range ns.wild {
		list = append(list, w.list...)
	}
	for _, l := range ns.exact {
		list = append(list, l...)
	}
	return list
}
