package ambassador

import (
	"context"
	"net/http"
	"time"

	"github.com/remorahq/remora/ambassador/http1"
	"github.com/remorahq/remora/ambassador/http2x"
	"github.com/remorahq/remora/ambassador/page"
	"github.com/remorahq/remora/ambassador/tunnel"
)

// upgrade joins a WebSocket over HTTP/2 (RFC 8441) with the connection on which
// the container has agreed to one.
func (h *hop1) upgrade() outcome {
	s, rel := h.s, h.s.claim.rel
	s.verdict.answered, s.verdict.status, s.verdict.protocol = time.Now(), http.StatusOK, protocolOf(s.req.Upgrade)
	rel.total.Add(1)
	s.claim.ep.answered(true)
	header := s.w.Header()
	http2x.Add(header, http1.DeliverFields(nil, &h.res))
	delete(header, "Content-Length")
	delete(header, "Sec-Websocket-Accept")
	s.head(http.StatusOK)
	if err := s.w.FlushError(); err != nil {
		return deserted
	}
	h.res.Discard(h.br)
	_ = h.c.SetDeadline(time.Time{})
	ws := &tunnel.Stream{
		Client: s.body, ToClient: s.pass, Server: h.c, FromServer: takeBuffered(h.br),
		Up: &rel.bytesIn, Down: &rel.bytesOut,
	}
	s.becomeStream(ws.End)
	stop := context.AfterFunc(s.ctx, ws.Abort)
	defer stop()
	if !ws.Run() {
		s.aborted = true
	}
	if s.flight.kicked.Load() {
		s.verdict.why = page.Kicked
	}
	return ended
}

// pass writes to the client at once.
func (s *stream) pass(b []byte) error {
	s.verdict.bytesOut += int64(len(b))
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.w.FlushError()
}
