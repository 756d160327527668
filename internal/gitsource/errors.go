package gitsource

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"

	"github.com/remorahq/remora/internal/status"
)

// Error is why a source could not be read. The revision that was in force
// before stays in force.
type Error struct {
	// Reason is GitOperationFailed, AuthenticationFailed or DiskLow.
	Reason status.Reason
	// Source is the source's name, Op what was done, such as
	// "fetch https://git.example.com/fleet.git".
	Source string
	Op     string
	// Remedy is what a person does about it; empty where remora only has to
	// try again.
	Remedy string
	Err    error

	cause cause
}

// Error returns the sentence without credentials, the remedy at its end.
func (e *Error) Error() string {
	text := fmt.Sprintf("source %s: %s: %v", e.Source, e.Op, e.Err)
	if e.Remedy != "" {
		text += "; " + e.Remedy
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// StatusReason returns the reason for the status.
func (e *Error) StatusReason() status.Reason { return e.Reason }

// cause says what an error allows: only what may lie in our own files is worth
// a second try at once.
type cause int

const (
	// causeLocal may come from our files or a garbled answer.
	causeLocal cause = iota
	// causeNetwork is the network or the server's trouble.
	causeNetwork
	// causeAnswer is a definite answer of the server, or a setting.
	causeAnswer
)

// ErrEmptyRepository says that the repository has no commit.
var ErrEmptyRepository = errors.New("the repository is empty")

// ErrRefGone says that the followed branch or tag is not on the server.
var ErrRefGone = errors.New("no such branch or tag")

// ErrHostKey says that the SSH server's key is not the pinned one.
var ErrHostKey = errors.New("the server's host key is not the pinned one")

// ErrFolderGone says that the followed local folder does not exist.
var ErrFolderGone = errors.New("the folder does not exist")

// errTooLarge says that a server sent more than the limit.
var errTooLarge = errors.New("the server sends more than the limit")

// errTimeout is the cause of an operation's own deadline.
var errTimeout = errors.New("no answer")

// answer makes an Error of a definite answer.
func answer(reason status.Reason, remedy string, err error) *Error {
	return &Error{Reason: reason, Remedy: remedy, Err: err, cause: causeAnswer}
}

// classify makes an Error of what a library returned.
func classify(ctx context.Context, err error) *Error {
	var known *Error
	switch {
	case errors.As(err, &known):
		return known
	case ctx.Err() != nil:
		return &Error{Reason: status.GitOperationFailed, Err: context.Cause(ctx), cause: causeNetwork}
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return answer(status.DiskLow, "free space in the state folder", err)
	}
	err = open(err)
	if e := classifyIdentity(err); e != nil {
		return e
	}
	if e := classifyAnswer(err); e != nil {
		return e
	}
	e := &Error{Reason: status.GitOperationFailed, Err: clean(err)}
	if isNetwork(err) {
		e.cause = causeNetwork
	}
	return e
}

// classifyIdentity recognises failures of either side to prove who it is.
func classifyIdentity(err error) *Error {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	var tlsErr *tls.CertificateVerificationError
	switch {
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err, transport.ErrAuthorizationFailed):
		return answer(status.AuthenticationFailed, "", errors.New("the server refuses the credentials"))
	case errors.As(err, &unknown), errors.As(err, &invalid), errors.As(err, &name), errors.As(err, &tlsErr):
		return answer(status.AuthenticationFailed,
			"name the server's certificate authority in auth.ca_file, or mend its certificate",
			fmt.Errorf("the server's certificate is not trusted: %w", err))
	}
	return nil
}

func classifyAnswer(err error) *Error {
	var line *pktline.ErrorLine
	var sent *githttp.Err
	switch {
	case errors.Is(err, transport.ErrRepositoryNotFound):
		return answer(status.GitOperationFailed,
			"check the url; many servers also answer so when the credentials do not reach the repository",
			errors.New("the server knows no such repository"))
	case errors.Is(err, transport.ErrEmptyRemoteRepository), errors.Is(err, ErrEmptyRepository):
		return answer(status.GitOperationFailed, "push a first commit", ErrEmptyRepository)
	case errors.Is(err, errTooLarge):
		return answer(status.GitOperationFailed, "take large files out of the repository", err)
	case errors.As(err, &line):
		return &Error{Reason: status.GitOperationFailed, Err: fmt.Errorf("the server says: %s", printable(line.Text))}
	case errors.As(err, &sent):
		return &Error{
			Reason: status.GitOperationFailed, cause: causeNetwork,
			Err: fmt.Errorf("the server answers %s", sent.Response.Status),
		}
	}
	return nil
}

// open looks inside go-git's wrappers, which hide their cause.
func open(err error) error {
	var unexpected *plumbing.UnexpectedError
	var permanent *plumbing.PermanentError
	for {
		switch {
		case errors.As(err, &unexpected):
			err = unexpected.Err
		case errors.As(err, &permanent):
			err = permanent.Err
		default:
			return err
		}
	}
}

func isNetwork(err error) bool {
	var netErr net.Error
	var dns *net.DNSError
	return errors.As(err, &netErr) || errors.As(err, &dns) ||
		errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// clean drops the address that net/http puts in front: the operation names it,
// without credentials.
func clean(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// printable makes a server's text safe for a terminal and a log line.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	const most = 300
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return strings.TrimSpace(text)
}
