package ambassador

import (
	"errors"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/remorahq/remora/internal/atomicfile"
	"github.com/remorahq/remora/internal/traffic"
)

// secrets are a worker's certificates and its keys of session tickets. The
// leading worker writes them, under its lock; handshakes read the pointers.
type secrets struct {
	certFile   *atomicfile.Store
	ticketFile *atomicfile.Store
	certs      atomic.Pointer[certificateSet]
	tickets    atomic.Pointer[ticketFile]
	unsaved    bool // the certificates are not on disk
}

func newSecrets(dir string) *secrets {
	s := &secrets{
		certFile:   atomicfile.NewStore(filepath.Join(dir, CertificatesFile), traffic.CertificatesVersion),
		ticketFile: atomicfile.NewStore(filepath.Join(dir, TicketsFile), ticketsVersion),
	}
	s.certs.Store(newCertificateSet(nil, nil))
	s.tickets.Store(new(ticketFile))
	return s
}

// turnTickets keeps the keys of session tickets young while the worker leads.
func (wk *Worker) turnTickets(now time.Time) {
	wk.mu.Lock()
	defer wk.mu.Unlock()
	if !wk.leads {
		return
	}
	if err := wk.secure.turnTickets(now); err != nil {
		wk.log.Error("session tickets", "err", err)
	}
}

// loadSecrets takes what is on disk: at the start, and again when the worker
// comes to lead, because its predecessor may have written since.
func (wk *Worker) loadSecrets() error {
	recovered, err := wk.secure.loadCertificates()
	if recovered != "" {
		wk.log.Error("certificates on disk are damaged", "what", recovered)
	}
	return errors.Join(err, wk.secure.loadTickets())
}
