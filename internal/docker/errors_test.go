package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	cerrdefs "github.com/containerd/errdefs"

	"github.com/remorahq/remora/internal/engine"
)

// said is an error with the words and the status of an engine.
func said(status error, text string) error {
	return fmt.Errorf("Error response from daemon: %s%w", text, silent{status})
}

// silent keeps an error's identity and hides its text.
type silent struct{ error }

func (s silent) Error() string { return "" }
func (s silent) Unwrap() error { return s.error }

func TestClassify(t *testing.T) {
	for _, row := range []struct {
		err  error
		want error
		name string
	}{
		{said(cerrdefs.ErrInternal, "Cannot destroy container 1f: Driver aufs failed"), engine.ErrTransient, "container not yet destroyed"},
		{said(cerrdefs.ErrInternal, "Error getting container init rootfs 1f from driver devicemapper"), engine.ErrTransient, "storage driver busy"},
		{said(cerrdefs.ErrInternal, `unable to remove filesystem: unlinkat /x: device or resource busy`), engine.ErrTransient, "storage driver busy"},
		{said(cerrdefs.ErrInternal, "tried to kill container, but did not receive an exit event"), engine.ErrTransient, "no exit event"},
		{said(cerrdefs.ErrConflict, "removal of container 1f is already in progress"), engine.ErrTransient, "removal under way"},
		{said(cerrdefs.ErrInternal, "write /x: no space left on device"), engine.ErrNoSpace, "disk full"},
		{said(cerrdefs.ErrInternal, "driver failed programming external connectivity: Bind for 0.0.0.0:80 failed: port is already allocated"), engine.ErrPortInUse, "container"},
		{said(cerrdefs.ErrInternal, "listen tcp4 0.0.0.0:80: bind: address already in use"), engine.ErrPortInUse, "process"},
		{said(cerrdefs.ErrPermissionDenied, "Address already in use"), engine.ErrConflict, "fixed address taken"},
		{said(cerrdefs.ErrPermissionDenied, "Pool overlaps with other one on this address space"), engine.ErrConflict, "subnet overlaps"},
		{said(cerrdefs.ErrNotFound, "No such container: x"), engine.ErrNotFound, ""},
		{said(cerrdefs.ErrConflict, "cannot remove"), engine.ErrConflict, ""},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, engine.ErrUnavailable, ""},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, engine.ErrTransient, "connection reset"},
		{context.Canceled, context.Canceled, ""},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), context.DeadlineExceeded, ""},
	} {
		t.Run(row.err.Error(), func(t *testing.T) {
			got := classify(row.err)
			if !errors.Is(got, row.want) || !errors.Is(got, row.err) || !strings.Contains(got.Error(), row.name) {
				t.Errorf("classified as %v, not as %v (%s)", got, row.want, row.name)
			}
			if again := classify(got); again != got { //nolint:errorlint // the same value is meant
				t.Errorf("classified twice: %v", again)
			}
		})
	}
	plain := said(cerrdefs.ErrInvalidArgument, "invalid mount")
	if got := classify(plain); hasKind(got) {
		t.Errorf("a mistake of the caller is classified: %v", got)
	}
}

func TestClassifyRegistry(t *testing.T) {
	for text, want := range map[string]error{
		"manifest for shop:v9 not found: manifest unknown: manifest unknown":                                                                 engine.ErrImageNotFound,
		"no matching manifest for linux/arm64/v8 in the manifest list entries":                                                               engine.ErrImageNotFound,
		"Head \"http://r/v2/x/manifests/1\": no basic auth credentials":                                                                      engine.ErrRegistryAuth,
		"pull access denied for shop, repository does not exist or may require 'docker login'":                                               engine.ErrRegistryAuth,
		"unauthorized: authentication required":                                                                                              engine.ErrRegistryAuth,
		"toomanyrequests: You have reached your pull rate limit":                                                                             engine.ErrRegistryUnavailable,
		"received unexpected HTTP status: 503 Service Unavailable":                                                                           engine.ErrRegistryUnavailable,
		"Get \"https://r:5000/v2/\": dial tcp 10.0.0.1:5000: connect: connection refused":                                                    engine.ErrRegistryUnavailable,
		"Get \"https://nowhere.example/v2/\": dial tcp: lookup nowhere.example: no such host":                                                engine.ErrRegistryUnavailable,
		"Get \"https://r:5000/v2/\": net/http: TLS handshake timeout":                                                                        engine.ErrRegistryUnavailable,
		"Get \"https://r:5000/v2/\": http: server gave HTTP response to HTTPS client":                                                        engine.ErrRegistryUnavailable,
		"failed to register layer: Error processing tar file(exit status 1): write /big: no space left on device":                            engine.ErrNoSpace,
		"Get \"https://registry-1.docker.io/v2/\": net/http: request canceled while waiting for connection (Client.Timeout exceeded)":        engine.ErrRegistryUnavailable,
		"failed to resolve reference \"r/x:1\": failed to do request: Head \"https://r/v2/x/manifests/1\": dial tcp: i/o timeout":            engine.ErrRegistryUnavailable,
		"failed to resolve reference \"r/x:1\": pull access denied, repository does not exist or may require authorization: server message:": engine.ErrRegistryAuth,
	} {
		if got := classifyRegistry(said(cerrdefs.ErrInternal, text)); !errors.Is(got, want) {
			t.Errorf("%q is %v, not %v", text, got, want)
		}
	}
}

func TestTransientErrorsAreTriedAgainAndNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transient := said(cerrdefs.ErrInternal, "Cannot destroy container 1f")
		made, start := 0, time.Now()
		err := do(t.Context(), "remove container 1f", func() error {
			if made++; made < 4 {
				return transient
			}
			return nil
		})
		if err != nil || made != 4 {
			t.Errorf("after %d tries: %v", made, err)
		}
		if waited := time.Since(start); waited < 500*time.Millisecond || waited > time.Second {
			t.Errorf("waited %s", waited)
		}
		made = 0
		err = do(t.Context(), "remove container 1f", func() error { made++; return transient })
		if made != tries || !errors.Is(err, engine.ErrTransient) {
			t.Errorf("after %d tries: %v", made, err)
		}
		for _, part := range []string{"remove container 1f (tried 6 times)", "transient engine error (container not yet destroyed)", "Cannot destroy"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("error %q lacks %q", err, part)
			}
		}
		made = 0
		if err := do(t.Context(), "x", func() error { made++; return said(cerrdefs.ErrNotFound, "gone") }); made != 1 || !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("a lasting error is tried %d times: %v", made, err)
		}
	})
}
