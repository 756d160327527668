package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
)

// listenGRPC serves unary gRPC calls over HTTP/2 with prior knowledge: any
// method, which answers with the message that it got.
func (p *program) listenGRPC(ctx context.Context) error {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return p.serveOn(ctx, p.GRPC, &http.Server{Handler: p.identify(http.HandlerFunc(p.unary)), Protocols: protocols})
}

// gRPC's status codes that are used here.
const (
	statusOK       = 0
	statusInternal = 13
)

func (p *program) unary(w http.ResponseWriter, r *http.Request) {
	p.account.Note("GRPC", r.Header.Get("X-Request-ID"), r.URL.Path)
	message, err := readMessage(r.Body)
	p.delay(r)
	w.Header().Set("Content-Type", "application/grpc")
	if err != nil {
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", fmt.Sprint(statusInternal))
		w.Header().Set(http.TrailerPrefix+"Grpc-Message", err.Error())
		return
	}
	_, _ = w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)) // its loss, as in answer
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", fmt.Sprint(statusOK))
}

// readMessage reads the one message of a unary call, not compressed.
func readMessage(body io.Reader) ([]byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(body, head[:]); err != nil {
		return nil, fmt.Errorf("read the message's head: %w", err)
	}
	message := make([]byte, min(binary.BigEndian.Uint32(head[1:]), 1<<20))
	if _, err := io.ReadFull(body, message); err != nil {
		return nil, fmt.Errorf("read the message: %w", err)
	}
	return message, nil
}
