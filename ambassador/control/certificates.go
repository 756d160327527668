package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/remorahq/remora/internal/traffic"
)

func (s *Server) putCertificates(w http.ResponseWriter, r *http.Request) {
	certs := new(traffic.Certificates)
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxTable)).Decode(certs); err != nil {
		// The decoder's message may quote what it read.
		s.fail(w, http.StatusBadRequest, failure{Error: "the certificates cannot be decoded"})
		return
	}
	err := s.backend.PutCertificates(context.WithoutCancel(r.Context()), certs)
	switch {
	case err == nil:
		s.answer(w, struct{}{})
	case errors.Is(err, ErrNotLeading):
		s.fail(w, http.StatusServiceUnavailable, failure{Error: err.Error()})
	case errors.Is(err, ErrNotPersisted):
		s.fail(w, http.StatusInsufficientStorage, failure{Error: err.Error(), NotPersisted: true, Ack: new(traffic.Ack)})
	default:
		s.fail(w, http.StatusUnprocessableEntity, failure{Error: err.Error()})
	}
}

func (s *Server) certificates(w http.ResponseWriter, _ *http.Request) {
	s.answer(w, s.backend.Certificates())
}

// PutCertificates replaces all certificates; the next handshake uses them. An
// error that is [ErrNotPersisted] says that they are used and not on disk.
func (c *Client) PutCertificates(ctx context.Context, list []traffic.Certificate) error {
	body, err := json.Marshal(traffic.Certificates{Version: traffic.CertificatesVersion, List: list})
	if err != nil {
		return fmt.Errorf("encode certificates: %w", err)
	}
	return c.call(ctx, http.MethodPut, "/v1/certificates", body, nil)
}

// Certificates says what certificates the ambassador has, without their keys.
func (c *Client) Certificates(ctx context.Context) ([]traffic.CertificateReport, error) {
	var list []traffic.CertificateReport
	return list, c.call(ctx, http.MethodGet, "/v1/certificates", nil, &list)
}
