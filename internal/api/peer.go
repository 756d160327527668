package api

import (
	"context"
	"net"
	"net/http"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/internal/status"
)

type peerKey struct{}

// withPeer keeps who connected, as the kernel says.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	if raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}) != nil || err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, *cred)
}

// actor is the person behind a request. Root may name the user that called
// sudo; from anybody else that is not believed.
func actor(r *http.Request) status.Actor {
	cred, ok := r.Context().Value(peerKey{}).(unix.Ucred)
	if !ok {
		return status.Actor{Kind: "user", Name: "unknown"}
	}
	name := userName(cred.Uid)
	if sudo := r.Header.Get(sudoHeader); sudo != "" && cred.Uid == 0 && len(sudo) <= 64 {
		name = sudo + " (sudo)"
	}
	return status.Actor{Kind: "user", Name: name}
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "uid " + id
}
