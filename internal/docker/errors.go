package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/client"

	"github.com/remorahq/remora/internal/engine"
)

// pattern is a part of an error's text and what people call the error. The
// engine has no codes for these: it passes on the words of the kernel, the
// runtime and the registry.
type pattern struct {
	text string // lower case
	name string
}

// transient are errors of the engine that pass by themselves.
var transient = []pattern{
	{"cannot destroy container", "container not yet destroyed"},
	{"error getting container init rootfs", "storage driver busy"},
	{"driver failed to remove root filesystem", "storage driver busy"},
	{"unable to remove filesystem", "storage driver busy"},
	{"device or resource busy", "device busy"},
	{"device is busy", "device busy"},
	{"dm_task_run failed", "device mapper"},
	{"did not receive an exit event", "no exit event"},
	{"dead or marked for removal", "removal under way"},
	{"is already in progress", "removal under way"},
	{"resource temporarily unavailable", "resource temporarily unavailable"},
	{"connection reset by peer", "connection reset"},
	{"broken pipe", "connection reset"},
	{"unexpected eof", "connection reset"},
	{"server closed idle connection", "connection reset"},
	{"error during connect", "connection reset"},
	{"ttrpc: closed", "runtime restarting"},
	{"transport is closing", "runtime restarting"},
	{"error while dialing", "runtime restarting"},
	{"containerd: container not found", "runtime restarting"},
	{"context deadline exceeded", "timeout in the engine"},
	{"i/o timeout", "timeout in the engine"},
	{"request canceled", "timeout in the engine"},
}

// noSpace and portInUse are errors that somebody has to do something about.
var (
	noSpace = []pattern{
		{"no space left on device", "disk full"},
		{"disk quota exceeded", "disk quota exceeded"},
		{"not enough free space", "disk full"},
	}
	portInUse = []pattern{
		{"port is already allocated", "port taken by a container"},
		{"bind: address already in use", "port taken by a process"},
		{"ports are not available", "port not available"},
	}
	conflict = []pattern{
		{"address already in use", "fixed address taken"},
		{"pool overlaps with other one", "subnet overlaps"},
		{"has active endpoints", "network in use"},
		{"is already in use by", "name taken"},
		{"already exists", "name taken"},
	}
)

// classify gives an error of the engine its kind of package engine. Errors of
// the context and errors that have a kind stay as they are; an error of no
// kind is the caller's mistake and stays, too.
func classify(err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), hasKind(err):
		return err
	case unreachable(err):
		return fmt.Errorf("%w: %w", engine.ErrUnavailable, err)
	}
	text := strings.ToLower(err.Error())
	for _, row := range []struct {
		kind     error
		patterns []pattern
	}{{engine.ErrNoSpace, noSpace}, {engine.ErrPortInUse, portInUse}, {engine.ErrTransient, transient}, {engine.ErrConflict, conflict}} {
		if name, ok := match(text, row.patterns); ok {
			return fmt.Errorf("%w (%s): %w", row.kind, name, err)
		}
	}
	return classifyStatus(err)
}

// classifyStatus goes by the status of the engine's answer.
func classifyStatus(err error) error {
	switch {
	case cerrdefs.IsNotFound(err):
		return fmt.Errorf("%w: %w", engine.ErrNotFound, err)
	case cerrdefs.IsConflict(err):
		return fmt.Errorf("%w: %w", engine.ErrConflict, err)
	case cerrdefs.IsUnavailable(err):
		return fmt.Errorf("%w (engine busy): %w", engine.ErrTransient, err)
	default:
		return err
	}
}

// unreachable says that nobody answers at the engine's address: to try again
// at once is no use. A connection that broke in a call is another matter.
func unreachable(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return true
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) && client.IsErrConnectionFailed(err) {
		return true
	}
	text := err.Error()
	return client.IsErrConnectionFailed(err) &&
		(strings.Contains(text, "Cannot connect to the Docker daemon") || strings.Contains(text, "permission denied"))
}

// registryGone, registryMissing and registryRefused are what registries, and
// the engine on the way to them, say.
var (
	registryGone = []pattern{
		{"toomanyrequests", "429 too many requests"},
		{"too many requests", "429 too many requests"},
		{"status: 5", "5xx"},
		{"status code 5", "5xx"},
		{"no such host", "name not found"},
		{"server misbehaving", "name server failed"},
		{"connection refused", "connection refused"},
		{"connection reset", "connection reset"},
		{"no route to host", "no route"},
		{"network is unreachable", "no route"},
		{"i/o timeout", "timeout"},
		{"handshake timeout", "timeout"},
		{"client.timeout exceeded", "timeout"},
		{"deadline exceeded", "timeout"},
		{"request canceled", "timeout"},
		{"gave http response to https client", "no TLS; list it under the engine's insecure-registries"},
		{"x509:", "certificate refused"},
		{"tls:", "TLS"},
		{"eof", "connection closed"},
	}
	registryRefused = []pattern{
		{"unauthorized", "unauthorized"},
		{"authentication required", "unauthorized"},
		{"no basic auth credentials", "no credentials"},
		{"incorrect username or password", "wrong credentials"},
		{"access denied", "denied"},
		{"requested access to the resource is denied", "denied"},
		{"authorization failed", "unauthorized"},
		{"insufficient_scope", "denied"},
		{"status: 401", "401"},
		{"status: 403", "403"},
		{"forbidden", "403"},
	}
	registryMissing = []pattern{
		{"manifest unknown", "no such tag or digest"},
		{"name unknown", "no such repository"},
		{"not found", "no such tag or digest"},
		{"no matching manifest", "no such platform"},
		{"does not match the specified platform", "no such platform"},
		{"does not provide the specified platform", "no such platform"},
		{"status: 404", "404"},
	}
)

// classifyRegistry is classify for calls that the engine passes on to a
// registry.
func classifyRegistry(err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), hasKind(err):
		return err
	case unreachable(err):
		return fmt.Errorf("%w: %w", engine.ErrUnavailable, err)
	case client.IsErrConnectionFailed(err):
		return classify(err)
	}
	text := strings.ToLower(err.Error())
	for _, row := range []struct {
		kind     error
		patterns []pattern
	}{
		{engine.ErrNoSpace, noSpace},
		{engine.ErrRegistryAuth, registryRefused},
		{engine.ErrImageNotFound, registryMissing},
		{engine.ErrRegistryUnavailable, registryGone},
	} {
		if name, ok := match(text, row.patterns); ok {
			return fmt.Errorf("%w (%s): %w", row.kind, name, err)
		}
	}
	switch {
	case cerrdefs.IsUnauthorized(err), cerrdefs.IsPermissionDenied(err):
		return fmt.Errorf("%w: %w", engine.ErrRegistryAuth, err)
	case cerrdefs.IsNotFound(err):
		return fmt.Errorf("%w: %w", engine.ErrImageNotFound, err)
	default:
		return classify(err)
	}
}

func match(text string, patterns []pattern) (string, bool) {
	for _, p := range patterns {
		if strings.Contains(text, p.text) {
			return p.name, true
		}
	}
	return "", false
}

// hasKind says whether err was classified before.
func hasKind(err error) bool {
	for _, kind := range []error{
		engine.ErrNotFound, engine.ErrConflict, engine.ErrUnavailable, engine.ErrTransient, engine.ErrImageNotFound,
		engine.ErrRegistryAuth, engine.ErrRegistryUnavailable, engine.ErrNoSpace, engine.ErrPolicy, engine.ErrPortInUse,
		engine.ErrUnsupported, engine.ErrLocked,
	} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}
