package gitsource

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// session is one conversation with git-upload-pack.
type session interface {
	AdvertisedReferencesContext(context.Context) (*packp.AdvRefs, error)
	UploadPack(context.Context, *packp.UploadPackRequest) (*packp.UploadPackResponse, error)
	io.Closer
}

// stream is a session over one connection, which git:// and ssh share. The
// connection is closed when the context it was made with ends.
type stream struct {
	conn io.Closer
	in   io.Writer
	out  *bufio.Reader
	// complaint waits for the server's end and returns what it wrote on its
	// error channel; nil where there is none.
	complaint func() string
	stop      func() bool
	asked     bool
}

func newStream(ctx context.Context, conn io.Closer, in io.Writer, out io.Reader, limit int64) *stream {
	return &stream{
		conn: conn, in: in, stop: closeOn(ctx, conn),
		out: bufio.NewReader(&limitedReader{r: out, left: limit, limit: limit}),
	}
}

// AdvertisedReferencesContext reads the server's refs; call it once, first.
func (s *stream) AdvertisedReferencesContext(context.Context) (*packp.AdvRefs, error) {
	refs := packp.NewAdvRefs()
	err := refs.Decode(s.out)
	switch {
	case errors.Is(err, packp.ErrEmptyAdvRefs):
		return nil, transport.ErrEmptyRemoteRepository
	case errors.Is(err, packp.ErrEmptyInput):
		return nil, s.explain(io.ErrUnexpectedEOF)
	case err != nil:
		return nil, s.explain(err)
	case refs.IsEmpty():
		return nil, transport.ErrEmptyRemoteRepository
	}
	transport.FilterUnsupportedCapabilities(refs.Capabilities)
	return refs, nil
}

// UploadPack asks for a pack and returns it, its first bytes unread.
func (s *stream) UploadPack(_ context.Context, req *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	s.asked = true
	if err := req.UploadRequest.Encode(s.in); err != nil {
		return nil, s.explain(err)
	}
	if err := pktline.NewEncoder(s.in).EncodeString("done\n"); err != nil {
		return nil, s.explain(err)
	}
	res := packp.NewUploadPackResponse(req)
	if err := res.Decode(io.NopCloser(s.out)); err != nil {
		return nil, s.explain(err)
	}
	return res, nil
}

// Close takes leave politely, so that the server logs no error, and closes the
// connection.
func (s *stream) Close() error {
	if !s.asked {
		_, _ = s.in.Write(pktline.FlushPkt) // the server may be gone already
	}
	s.stop()
	return s.conn.Close()
}

// explain adds what the server said on its error channel.
func (s *stream) explain(err error) error {
	if s.complaint == nil {
		return err
	}
	if text := s.complaint(); text != "" {
		return answerOf(text, err)
	}
	return err
}

// dialGit opens a git:// session, which knows neither encryption nor users.
func dialGit(ctx context.Context, a address, limit int64) (session, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", a.hostport("9418"))
	if err != nil {
		return nil, err
	}
	s := newStream(ctx, conn, conn, conn, limit)
	req := packp.GitProtoRequest{RequestCommand: transport.UploadPackServiceName, Pathname: a.path, Host: a.hostport("")}
	if err := req.Encode(conn); err != nil {
		return nil, fmt.Errorf("send request: %w", errors.Join(err, s.Close()))
	}
	return s, nil
}
