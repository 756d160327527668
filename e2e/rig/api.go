package rig

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// apiVersion is spoken by every engine from 20.10 on.
const apiVersion = "/v1.41"

// APIError is an answer of the engine that is not a success.
type APIError struct {
	Status  int    // HTTP status
	Message string // the engine's words
}

// Error is the engine's message with the status.
func (e *APIError) Error() string { return fmt.Sprintf("engine answered %d: %s", e.Status, e.Message) }

// Call makes one call of the Docker API, such as
//
//	e.Call(t, "POST", "/containers/web/pause", nil, nil)
//
// in is sent as JSON unless it is an io.Reader; the answer is decoded into
// out. Both may be nil. Any error fails the test; [Engine.Do] returns it.
func (e *Engine) Call(t TB, method, path string, in, out any) {
	t.Helper()
	must(t, method+" "+path, e.Do(t.Context(), method, path, in, out))
}

// Do is Call with the error returned: an [*APIError] for the engine's refusals.
func (e *Engine) Do(ctx context.Context, method, path string, in, out any) error {
	resp, err := e.request(ctx, method, path, in, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// request returns the answer of a success; its body is the caller's to close.
func (e *Engine) request(ctx context.Context, method, path string, in any, header http.Header) (*http.Response, error) {
	body, kind, err := encode(in)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://engine"+apiVersion+path, body)
	if err != nil {
		return nil, err
	}
	if header != nil {
		req.Header = header
	}
	req.Header.Set("Content-Type", kind)
	resp, err := e.api().Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		defer resp.Body.Close()
		return nil, apiError(resp)
	}
	return resp, nil
}

func encode(in any) (io.Reader, string, error) {
	switch in := in.(type) {
	case nil:
		return nil, "application/json", nil
	case io.Reader:
		return in, "application/x-tar", nil
	default:
		body, err := json.Marshal(in)
		return bytes.NewReader(body), "application/json", err
	}
}

func apiError(resp *http.Response) error {
	var answer struct{ Message string }
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return err
	}
	if json.Unmarshal(body, &answer) != nil {
		answer.Message = string(body)
	}
	return &APIError{Status: resp.StatusCode, Message: strings.TrimSpace(answer.Message)}
}

// api is a client of its own for each call: an engine that was restarted
// leaves no stale connection behind.
func (e *Engine) api() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", e.socket)
		},
	}}
}

func (e *Engine) ping(ctx context.Context) error {
	return e.Do(ctx, http.MethodGet, "/_ping", nil, nil)
}

// stream makes a call that answers with a stream of progress messages, of
// which one may be an error; it returns the last `aux` that named a digest.
func (e *Engine) stream(ctx context.Context, path string, in any, auth *Credentials) (string, error) {
	header := http.Header{}
	if auth != nil {
		value, err := json.Marshal(map[string]string{"username": auth.Username, "password": auth.Password})
		if err != nil {
			return "", err
		}
		header.Set("X-Registry-Auth", base64.URLEncoding.EncodeToString(value))
	} else {
		header.Set("X-Registry-Auth", "e30=")
	}
	resp, err := e.request(ctx, http.MethodPost, path, in, header)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	return lastDigest(resp.Body)
}

func lastDigest(r io.Reader) (string, error) {
	var digest string
	messages := json.NewDecoder(r)
	for {
		var m struct {
			Error string `json:"error"`
			Aux   struct{ Digest string }
		}
		err := messages.Decode(&m)
		switch {
		case errors.Is(err, io.EOF):
			return digest, nil
		case err != nil:
			return "", fmt.Errorf("read progress: %w", err)
		case m.Error != "":
			return "", errors.New(m.Error)
		case m.Aux.Digest != "":
			digest = m.Aux.Digest
		}
	}
}
