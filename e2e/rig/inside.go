package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Host is the engine's address as DOCKER_HOST takes it.
func (e *Engine) Host() string { return "unix://" + e.socket }

// Socket is the path of the engine's socket.
func (e *Engine) Socket() string { return e.socket }

// Namespace is the path of the engine's network namespace; empty for the
// machine's own engine, which lives in ours.
func (e *Engine) Namespace() string {
	if e.slot == nil {
		return ""
	}
	return e.slot.netnsPath()
}

// HostAddr is the address under which this machine, and so the test's own
// listeners, is reached from the engine's namespace and its containers.
func (e *Engine) HostAddr() string {
	if e.slot == nil {
		return e.gateway
	}
	return e.slot.hostAddr()
}

// Addr is the address under which listeners in the engine's namespace,
// published ports included, are reached from the test.
func (e *Engine) Addr() string {
	if e.slot == nil {
		return "127.0.0.1"
	}
	return e.slot.engineAddr()
}

// Command is a command that runs in the engine's network namespace, as a
// program on that engine's host would. The caller starts it and waits for it.
func (e *Engine) Command(name string, args ...string) *exec.Cmd {
	if e.slot == nil {
		return exec.Command(name, args...)
	}
	// Not `ip netns exec`: that mounts a /sys of its own, without cgroups.
	return exec.Command("nsenter", append([]string{"--net=" + e.Namespace(), "--", name}, args...)...)
}

// DialContext dials from the engine's namespace, so that 127.0.0.1 and the
// containers' addresses are those of its host. The address must be an IP.
func (e *Engine) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	var conn net.Conn
	err := e.Inside(func() (err error) {
		conn, err = (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Listen listens in the engine's namespace.
func (e *Engine) Listen(network, addr string) (net.Listener, error) {
	var l net.Listener
	err := e.Inside(func() (err error) {
		l, err = net.Listen(network, addr)
		return err
	})
	return l, err
}

// Client is an HTTP client that dials from the engine's namespace and never
// retries a request on a second connection unless HTTP allows it.
func (e *Engine) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: e.DialContext, MaxIdleConnsPerHost: 100}}
}

// Inside runs f on a thread in the engine's network namespace. Sockets that f
// opens belong there for good; goroutines that it starts do not.
func (e *Engine) Inside(f func() error) error {
	if e.slot == nil {
		return f()
	}
	done := make(chan error, 1)
	go func() { done <- enter(e.Namespace(), f) }()
	return <-done
}

// enter leaves the thread locked, so that it ends with its goroutine, when it
// cannot be brought back.
func enter(namespace string, f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("open own namespace: %w", err)
	}
	defer home.Close() //nolint:errcheck // opened for reading
	there, err := os.Open(namespace)
	if err != nil {
		return fmt.Errorf("open namespace: %w", err)
	}
	defer there.Close() //nolint:errcheck // opened for reading
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace %s: %w", namespace, err)
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("leave namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

// interfaceAddr is the first IPv4 address of a network interface of this machine.
func interfaceAddr(name string) (string, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return "", fmt.Errorf("find interface %q: %w", name, err)
	}
	addrs, err := i.Addrs()
	if err != nil {
		return "", fmt.Errorf("read addresses of %s: %w", name, err)
	}
	for _, addr := range addrs {
		if n, ok := addr.(*net.IPNet); ok && n.IP.To4() != nil {
			return n.IP.String(), nil
		}
	}
	return "", fmt.Errorf("interface %s has no IPv4 address", name)
}
