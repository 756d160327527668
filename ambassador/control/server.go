package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/internal/traffic"
)

// Backend is what the server offers. Its methods are called concurrently.
type Backend interface {
	// Put may return [*StaleError] or an error that is [ErrNotPersisted].
	Put(ctx context.Context, t *traffic.Table) (traffic.Ack, error)
	Table() *traffic.Table
	// PutCertificates may return an error that is [ErrNotPersisted].
	PutCertificates(ctx context.Context, certs *traffic.Certificates) error
	Certificates() []traffic.CertificateReport
	Report() traffic.Report
	// Changed returns a channel that is closed at the next change.
	Changed() <-chan struct{}
	WriteMetrics(w io.Writer) error
	// Explain says what would become of a request for a URL now; it errs for what
	// is no URL.
	Explain(ctx context.Context, url string) (traffic.Explanation, error)
	Upgrade(ctx context.Context) error
}

// Server answers the control API.
type Server struct {
	backend Backend
	log     *slog.Logger
	http    http.Server
	stop    context.CancelFunc
	done    chan struct{}
}

// Serve answers on l, which it takes over, until Close. Root and the user ids
// given may call.
func Serve(l *net.UnixListener, backend Backend, log *slog.Logger, uids ...uint32) *Server {
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{backend: backend, log: log, stop: stop, done: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /v1/table", s.put)
	mux.HandleFunc("GET /v1/table", s.table)
	mux.HandleFunc("PUT /v1/certificates", s.putCertificates)
	mux.HandleFunc("GET /v1/certificates", s.certificates)
	mux.HandleFunc("GET /v1/report", s.report)
	mux.HandleFunc("GET /v1/watch", s.watch)
	mux.HandleFunc("GET /v1/metrics", s.metrics)
	mux.HandleFunc("GET /v1/explain", s.explain)
	mux.HandleFunc("POST /v1/upgrade", s.upgrade)
	s.http = http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(s.done)
		_ = s.http.Serve(&guarded{UnixListener: l, uids: uids, log: log})
	}()
	return s
}

// Close stops accepting, ends watches, lets other calls finish for up to two
// seconds, and returns when none runs.
func (s *Server) Close() error {
	s.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	<-s.done
	return err
}

func (s *Server) put(w http.ResponseWriter, r *http.Request) {
	t := new(traffic.Table)
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxTable)).Decode(t); err != nil {
		s.fail(w, http.StatusBadRequest, failure{Error: "decode table: " + err.Error()})
		return
	}
	// A caller that hangs up does not undo a table that is being put.
	ack, err := s.backend.Put(context.WithoutCancel(r.Context()), t)
	var stale *StaleError
	switch {
	case err == nil:
		s.answer(w, ack)
	case errors.As(err, &stale):
		s.fail(w, http.StatusConflict, failure{Error: err.Error(), Stale: stale})
	case errors.Is(err, ErrNotLeading):
		s.fail(w, http.StatusServiceUnavailable, failure{Error: err.Error()})
	case errors.Is(err, ErrNotPersisted):
		s.fail(w, http.StatusInsufficientStorage, failure{Error: err.Error(), NotPersisted: true, Ack: &ack})
	default:
		s.fail(w, http.StatusUnprocessableEntity, failure{Error: err.Error()})
	}
}

func (s *Server) table(w http.ResponseWriter, _ *http.Request)  { s.answer(w, s.backend.Table()) }
func (s *Server) report(w http.ResponseWriter, _ *http.Request) { s.answer(w, s.backend.Report()) }

func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	if err := s.backend.WriteMetrics(w); err != nil {
		s.log.Debug("write metrics", "err", err)
	}
}

func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	e, err := s.backend.Explain(r.Context(), r.FormValue("url"))
	if err != nil {
		s.fail(w, http.StatusBadRequest, failure{Error: err.Error()})
		return
	}
	s.answer(w, e)
}

func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) {
	// This worker hands the API over before its successor leads; the answer
	// still goes out on the connection that asked.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 30*time.Second)
	defer cancel()
	if err := s.backend.Upgrade(ctx); err != nil {
		s.fail(w, http.StatusBadGateway, failure{Error: err.Error()})
		return
	}
	s.answer(w, struct{}{})
}

// watch streams a report now and at every change.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w)
	for {
		begun := time.Now()
		changed := s.backend.Changed()
		data, err := json.Marshal(s.backend.Report())
		if err != nil {
			s.log.Error("encode report", "err", err)
			return
		}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", data); err != nil {
			return
		}
		if err := flush.Flush(); err != nil {
			return
		}
		cost := time.Since(begun)
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
		// Changes come in bursts: gather them, for longer where a report costs
		// more.
		select {
		case <-time.After(min(max(2*cost, time.Millisecond), 20*time.Millisecond)):
		case <-r.Context().Done():
			return
		}
	}
}

func (s *Server) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.log.Debug("answer control call", "err", err)
	}
}

func (s *Server) fail(w http.ResponseWriter, status int, f failure) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(f); err != nil {
		s.log.Debug("answer control call", "err", err)
	}
}

// guarded accepts only peers that may call.
type guarded struct {
	*net.UnixListener
	uids []uint32
	log  *slog.Logger
}

func (g *guarded) Accept() (net.Conn, error) {
	for {
		c, err := g.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, err := peer(c)
		if err == nil && g.allowed(uid) {
			return c, nil
		}
		g.log.Warn("control call refused", "uid", uid, "err", err)
		_ = c.Close()
	}
}

func (g *guarded) allowed(uid uint32) bool {
	if slices.Contains(g.uids, uid) {
		return true
	}
	return uid == 0
}

func peer(c *net.UnixConn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var cerr error
	err = raw.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, cerr); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}
