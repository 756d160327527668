package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

// handle registers the pages of the http role.
//
//	/health                     200, or 503 before ReadyDelay, or 500 when told so
//	/requests                   the account: version, instance, counts by ID
//	/upload                     checksum and size of the body
//	/bytes?n=                   n bytes
//	/events?interval=&n=        server-sent events
//	/ws                         WebSocket echo
//	/call?url=                  calls another service and tells what it said
//	/inspect, /file?path=       what the container gave the process
//	/exit?code=                 ends the process
//	/…?delay=&status=           echo of method, path, headers and body
func (p *program) handle() {
	p.mux.HandleFunc("/health", p.health)
	p.mux.HandleFunc("/requests", p.requests)
	p.mux.HandleFunc("/upload", p.upload)
	p.mux.HandleFunc("/bytes", p.bytes)
	p.mux.HandleFunc("/events", p.events)
	p.mux.HandleFunc("/ws", p.webSocket)
	p.mux.HandleFunc("/call", p.call)
	p.mux.HandleFunc("/inspect", p.inspect)
	p.mux.HandleFunc("/file", p.file)
	p.mux.HandleFunc("/exit", p.exit)
	p.mux.HandleFunc("/", p.echo)
}

func (p *program) health(w http.ResponseWriter, _ *http.Request) {
	age := time.Since(p.started)
	switch {
	case p.NeverReady, p.FailAfter > 0 && age > p.FailAfter:
		http.Error(w, "unwell", http.StatusInternalServerError)
	case age < p.ReadyDelay:
		http.Error(w, "not yet", http.StatusServiceUnavailable)
	default:
		fmt.Fprintln(w, "well")
	}
}

// note enters a request in the account, by its X-Request-ID or its id parameter.
func (p *program) note(r *http.Request) string {
	id := r.Header.Get("X-Request-ID")
	if id == "" {
		id = r.URL.Query().Get("id")
	}
	p.account.Note(r.Method, id, r.URL.Path)
	return id
}

// reply is what the echo answers.
type reply struct {
	ID       string      `json:"id,omitempty"`
	Version  string      `json:"version"`
	Instance string      `json:"instance"`
	Method   string      `json:"method"`
	Host     string      `json:"host"`
	Path     string      `json:"path"`
	Query    string      `json:"query,omitempty"`
	Header   http.Header `json:"header"`
	Remote   string      `json:"remote"`
	Body     string      `json:"body,omitempty"`
}

func (p *program) echo(w http.ResponseWriter, r *http.Request) {
	id := p.note(r)
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return // the client is gone, or its body was cut
	}
	p.delay(r)
	answer(w, p.status(r), reply{
		ID: id, Version: p.Version, Instance: p.Instance, Method: r.Method, Host: r.Host,
		Path: r.URL.Path, Query: r.URL.RawQuery, Header: r.Header, Remote: r.RemoteAddr, Body: string(body),
	})
}

// delay waits as the settings and the request's own parameter say; a slow
// answer is finished although the program was told to stop.
func (p *program) delay(r *http.Request) {
	d := p.AnswerDelay
	if own, err := time.ParseDuration(r.URL.Query().Get("delay")); err == nil {
		d = own
	}
	time.Sleep(d)
}

func (p *program) status(r *http.Request) int {
	if own, err := strconv.Atoi(r.URL.Query().Get("status")); err == nil {
		return own
	}
	return p.Status
}

func answer(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // an answer that the client no longer wants is its loss
}

func (p *program) requests(w http.ResponseWriter, _ *http.Request) {
	counts := p.account.Counts()
	total := 0
	for _, n := range counts {
		total += n
	}
	answer(w, http.StatusOK, map[string]any{
		"version": p.Version, "instance": p.Instance, "total": total, "counts": counts,
	})
}

func (p *program) upload(w http.ResponseWriter, r *http.Request) {
	id := p.note(r)
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"id": id, "version": p.Version, "instance": p.Instance,
		"bytes": n, "sha256": hex.EncodeToString(sum.Sum(nil)),
	})
}

func (p *program) bytes(w http.ResponseWriter, r *http.Request) {
	p.note(r)
	n, err := strconv.ParseInt(r.URL.Query().Get("n"), 10, 64)
	if err != nil {
		http.Error(w, "n is not a number", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	block := make([]byte, 32<<10)
	for i := range block {
		block[i] = byte('a' + i%26)
	}
	for n > 0 {
		part := min(n, int64(len(block)))
		if _, err := w.Write(block[:part]); err != nil {
			return
		}
		n -= part
	}
}

func (p *program) exit(w http.ResponseWriter, r *http.Request) {
	code, _ := strconv.Atoi(r.URL.Query().Get("code"))
	answer(w, http.StatusOK, map[string]any{"version": p.Version, "code": code})
	_ = http.NewResponseController(w).Flush()
	os.Exit(code)
}
