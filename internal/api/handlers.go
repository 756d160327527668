package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/status"
)

// longestBody bounds a request's body.
const longestBody = 1 << 20

// routes are those of the socket.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	s.public(mux)
	handle := func(pattern string, h func(http.ResponseWriter, *http.Request) error) {
		mux.Handle(pattern, s.reporting(h))
	}
	handle("GET /v1/version", s.version)
	handle("GET /v1/status", s.status)
	handle("GET /v1/status/stream", s.statusStream)
	handle("GET /v1/events", s.events)
	handle("GET /v1/evidence", s.evidence)
	handle("GET /v1/logs", s.logs)
	handle("GET /v1/history", s.history)
	handle("GET /v1/explain", s.explain)
	handle("GET /v1/routes", s.routeRows)
	handle("POST /v1/plan", s.plan)
	handle("POST /v1/render", s.render)
	handle("POST /v1/commands", s.command)
	handle("/", func(_ http.ResponseWriter, r *http.Request) error {
		return &status.Error{
			Kind: status.NotFound, Message: fmt.Sprintf("no such call: %s %s", r.Method, r.URL.Path),
			Remedy: "this agent is " + s.opt.Version + "; is the caller of another version?",
		}
	})
	return mux
}

// publicRoutes are those of the TCP address: nothing that names what runs but
// metrics, nothing that changes anything.
func (s *Server) publicRoutes() http.Handler {
	mux := http.NewServeMux()
	s.public(mux)
	return mux
}

func (s *Server) public(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	if s.opt.Metrics != nil {
		mux.Handle("GET /metrics", s.opt.Metrics)
	}
}

// reporting turns a handler's error into the answer.
func (s *Server) reporting(h func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, longestBody)
		err := h(w, r)
		if err == nil || r.Context().Err() != nil {
			return
		}
		s.log.Debug("request refused", "path", r.URL.Path, "error", err)
		code, problem := problemOf(err)
		writeJSON(w, code, problem)
	})
}

func problemOf(err error) (int, *status.Error) {
	problem, ok := errors.AsType[*status.Error](err)
	if !ok {
		return http.StatusInternalServerError, &status.Error{Message: err.Error()}
	}
	full := *problem
	if err.Error() != problem.Error() { // what was wrapped around it counts
		full.Message = strings.TrimSuffix(err.Error(), "; "+problem.Remedy)
	}
	switch problem.Kind {
	case status.Invalid:
		return http.StatusBadRequest, &full
	case status.NotFound:
		return http.StatusNotFound, &full
	case status.Conflict:
		return http.StatusConflict, &full
	case status.Denied:
		return http.StatusForbidden, &full
	case status.Unavailable:
		return http.StatusServiceUnavailable, &full
	}
	return http.StatusInternalServerError, &full
}

// writeJSON answers with v. What cannot be sent to a caller who left is no
// error of ours.
func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

// answer writes v, or returns err.
func answer[T any](w http.ResponseWriter, v T, err error) error {
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

// body decodes a request's body strictly.
func body[T any](r *http.Request) (v T, err error) {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, &status.Error{Kind: status.Invalid, Message: "read the request: " + err.Error()}
	}
	return v, nil
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) error {
	return answer(w, Version{Version: s.opt.Version, API: apiVersion}, nil)
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) error {
	host, err := s.opt.Backend.Status(r.Context())
	return answer(w, host, err)
}

func (s *Server) history(w http.ResponseWriter, r *http.Request) error {
	entries, err := s.opt.Backend.History(r.Context(), r.FormValue("app"))
	return answer(w, entries, err)
}

func (s *Server) explain(w http.ResponseWriter, r *http.Request) error {
	e, err := s.opt.Backend.Explain(r.Context(), r.FormValue("subject"))
	return answer(w, e, err)
}

func (s *Server) routeRows(w http.ResponseWriter, r *http.Request) error {
	rows, err := s.opt.Backend.Routes(r.Context())
	return answer(w, rows, err)
}

func (s *Server) plan(w http.ResponseWriter, r *http.Request) error {
	req, err := body[status.PlanRequest](r)
	if err != nil {
		return err
	}
	plan, err := s.opt.Backend.Plan(r.Context(), req)
	return answer(w, plan, err)
}

func (s *Server) render(w http.ResponseWriter, r *http.Request) error {
	req, err := body[status.PlanRequest](r)
	if err != nil {
		return err
	}
	payloads, err := s.opt.Backend.Render(r.Context(), req)
	return answer(w, payloads, err)
}

func (s *Server) command(w http.ResponseWriter, r *http.Request) error {
	cmd, err := body[status.Command](r)
	if err != nil {
		return err
	}
	cmd.Actor = actor(r)
	s.log.Info("command", "verb", cmd.Verb, "app", cmd.App, "service", cmd.Service, "actor", cmd.Actor.Name, "reason", cmd.Reason)
	a, err := s.opt.Backend.Do(r.Context(), cmd)
	return answer(w, a, err)
}

func (s *Server) evidence(w http.ResponseWriter, r *http.Request) error {
	found, err := s.opt.Events.Failed(r.FormValue("app"), r.FormValue("service"), r.FormValue("release"))
	return answer(w, found, err)
}

// ready answers 200 once the host was reconciled and the engine answers.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	why := s.unready(ctx)
	if why != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, why)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (s *Server) unready(ctx context.Context) string {
	host, err := s.opt.Backend.Status(ctx)
	switch {
	case err != nil:
		return "status: " + err.Error()
	case !host.Engine.Connected:
		return "engine: " + orElse(host.Engine.Message, "not connected")
	case !host.Ambassador.Connected:
		return "ambassador: " + orElse(host.Ambassador.Message, "not connected")
	case host.LastReconcile.IsZero():
		return "no reconcile has finished yet"
	}
	return s.opt.Events.Trouble()
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// number parses a query parameter; absent is fallback.
func number[T int | uint64](r *http.Request, name string, fallback T) (T, error) {
	text := r.FormValue(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, &status.Error{Kind: status.Invalid, Message: fmt.Sprintf("%s: %q is no whole number", name, text)}
	}
	return T(n), nil
}

// moment parses a query parameter of RFC 3339.
func moment(r *http.Request, name string) (time.Time, error) {
	text := r.FormValue(name)
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return at, &status.Error{Kind: status.Invalid, Message: fmt.Sprintf("%s: %q is no time", name, text)}
	}
	return at, nil
}
