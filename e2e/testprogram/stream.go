package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/coder/websocket"
)

// events sends server-sent events until the client leaves, n have been sent,
// or the program stops.
func (p *program) events(w http.ResponseWriter, r *http.Request) {
	p.note(r)
	interval, err := time.ParseDuration(r.URL.Query().Get("interval"))
	if err != nil || interval <= 0 {
		interval = time.Second
	}
	n, err := strconv.Atoi(r.URL.Query().Get("n"))
	if err != nil {
		n = 1 << 30
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	flush := http.NewResponseController(w)
	for i := range n {
		if _, err := fmt.Fprintf(w, "id: %d\ndata: {\"n\":%d,\"version\":%q}\n\n", i, i, p.Version); err != nil {
			return
		}
		if flush.Flush() != nil || !pause(r.Context(), interval) {
			return
		}
	}
}

// webSocket sends every message back. When the program stops, the client
// gets a close frame that says so (1001).
func (p *program) webSocket(w http.ResponseWriter, r *http.Request) {
	p.note(r)
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = conn.CloseNow() }() // closed already is as good
	conn.SetReadLimit(1 << 20)
	// The hijacked connection is not the server's any more: Shutdown neither
	// waits for it nor closes it, so the handler ends by the request's context.
	p.work.Add(1)
	defer p.work.Done()
	stop := context.AfterFunc(r.Context(), func() {
		_ = conn.Close(websocket.StatusGoingAway, "stopping")
	})
	defer stop()
	for {
		kind, message, err := conn.Read(context.WithoutCancel(r.Context()))
		if err != nil {
			return
		}
		if err := conn.Write(context.WithoutCancel(r.Context()), kind, message); err != nil {
			return
		}
	}
}
