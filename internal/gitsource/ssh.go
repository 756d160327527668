package gitsource

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// dialSSH opens a session with git-upload-pack on an SSH server whose key is
// pinned. Nothing of the user's own SSH settings is read.
func dialSSH(ctx context.Context, a address, auth manifests.Auth, limit int64) (session, error) {
	login, err := sshLogin(auth)
	if err != nil {
		return nil, err
	}
	hosts, err := pinnedHosts(auth.KnownHosts, a)
	if err != nil {
		return nil, err
	}
	client, err := sshConnect(ctx, a, sshConfig(a, auth, login, hosts))
	if err != nil {
		return nil, hosts.explain(ctx, a, err)
	}
	return sshSession(ctx, client, a, limit)
}

func sshLogin(auth manifests.Auth) (ssh.AuthMethod, error) {
	switch {
	case auth.KeyFile != "":
		pem, err := readSecret("auth.key_file", auth.KeyFile)
		if err != nil {
			return nil, err
		}
		key, err := ssh.ParsePrivateKey([]byte(pem + "\n"))
		if err != nil {
			return nil, answer(status.AuthenticationFailed, "put an unencrypted private key (a deploy key) there",
				fmt.Errorf("read key %s: %w", auth.KeyFile, err))
		}
		return ssh.PublicKeys(key), nil
	case auth.PasswordFile != "":
		password, err := readSecret("auth.password_file", auth.PasswordFile)
		return ssh.Password(password), err
	}
	return nil, answer(status.AuthenticationFailed, "set auth.key_file to a private key", errors.New("the source has no ssh key"))
}

func sshConfig(a address, auth manifests.Auth, login ssh.AuthMethod, hosts *hostKeys) *ssh.ClientConfig {
	user := a.user
	if user == "" {
		user = auth.Username
	}
	if user == "" {
		user = "git"
	}
	return &ssh.ClientConfig{
		User:              user,
		Auth:              []ssh.AuthMethod{login},
		HostKeyCallback:   hosts.check,
		HostKeyAlgorithms: hosts.algorithms,
	}
}

func sshConnect(ctx context.Context, a address, config *ssh.ClientConfig) (*ssh.Client, error) {
	var d net.Dialer
	target := a.hostport("22")
	conn, err := d.DialContext(ctx, "tcp", target)
	if err != nil {
		return nil, err
	}
	stop := closeOn(ctx, conn)
	c, channels, requests, err := ssh.NewClientConn(conn, target, config)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, ignoreClosed(conn.Close()))
	}
	return ssh.NewClient(c, channels, requests), nil
}

func sshSession(ctx context.Context, client *ssh.Client, a address, limit int64) (session, error) {
	stop := closeOn(ctx, client)
	defer stop()
	s, err := client.NewSession()
	if err != nil {
		return nil, errors.Join(err, ignoreClosed(client.Close()))
	}
	in, errIn := s.StdinPipe()
	out, errOut := s.StdoutPipe()
	said := &tail{}
	s.Stderr = said
	if err := errors.Join(errIn, errOut, s.Start(transport.UploadPackServiceName+" "+shellQuote(sshPath(a.path)))); err != nil {
		return nil, errors.Join(err, ignoreClosed(client.Close()))
	}
	stream := newStream(ctx, client, in, out, limit)
	stream.complaint = func() string {
		impatience := time.AfterFunc(time.Second, func() { _ = client.Close() }) // ends Wait
		defer impatience.Stop()
		_ = s.Wait() // what it said is what counts
		return said.String()
	}
	return stream, nil
}

// sshPath drops the slash before a home folder, as git does.
func sshPath(path string) string {
	if strings.HasPrefix(path, "/~") {
		return path[1:]
	}
	return path
}

// shellQuote quotes for any POSIX shell, and for csh, which expands "!".
func shellQuote(s string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(s) + "'"
}

// hostKeys judges a server's key by the pinned file alone.
type hostKeys struct {
	file       string
	algorithms []string
	callback   ssh.HostKeyCallback

	seen ssh.PublicKey
	bad  error
}

// pinnedHosts reads the known_hosts file. The algorithms are those of this
// host's entries: a server with several keys must show one that is pinned.
func pinnedHosts(file string, a address) (*hostKeys, error) {
	pin := fmt.Sprintf("write the output of `ssh-keyscan %s` into it after comparing the fingerprint with the server's", keyscanArgs(a))
	if file == "" {
		return nil, answer(status.AuthenticationFailed, "set auth.known_hosts to a file; "+pin, errors.New("no host key is pinned"))
	}
	if _, err := os.Stat(file); err != nil {
		return nil, answer(status.AuthenticationFailed, pin, fmt.Errorf("read pinned host keys: %w", err))
	}
	db, err := knownhosts.NewDB(file)
	if err != nil {
		return nil, answer(status.AuthenticationFailed, "mend the file", fmt.Errorf("read pinned host keys: %w", err))
	}
	return &hostKeys{file: file, callback: db.HostKeyCallback(), algorithms: db.HostKeyAlgorithms(a.hostport("22"))}, nil
}

func (h *hostKeys) check(host string, remote net.Addr, key ssh.PublicKey) error {
	h.seen = key
	h.bad = h.callback(host, remote, key)
	return h.bad
}

// explain turns a failed handshake into an error that names file and
// fingerprint, or the refused credentials.
func (h *hostKeys) explain(ctx context.Context, a address, err error) error {
	var none *ssh.AlgorithmNegotiationError
	switch {
	case h.bad != nil:
	case errors.As(err, &none) && len(h.algorithms) > 0:
		h.look(ctx, a)
	case strings.Contains(err.Error(), "unable to authenticate"):
		// The library has no type for it.
		return answer(status.AuthenticationFailed, "", errors.New("the server refuses the key"))
	default:
		return err
	}
	fingerprint := "a key of another type"
	if h.seen != nil {
		fingerprint = h.seen.Type() + " " + ssh.FingerprintSHA256(h.seen)
	}
	what := "has no entry for it"
	if len(h.algorithms) > 0 {
		what = "pins another key"
	}
	return answer(status.AuthenticationFailed,
		fmt.Sprintf("if the server's administrator confirms this fingerprint, replace the host's lines in %s", h.file),
		fmt.Errorf("%w: %s shows %s, and %s %s", ErrHostKey, a.hostport("22"), fingerprint, h.file, what))
}

// look asks for the key that the server shows when none of the pinned types is
// demanded, only to name it: the handshake always ends there.
func (h *hostKeys) look(ctx context.Context, a address) {
	config := &ssh.ClientConfig{HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
		h.seen = key
		return ErrHostKey
	}}
	if client, err := sshConnect(ctx, a, config); err == nil {
		_ = client.Close() // never reached: the callback refuses every key
	}
}

func keyscanArgs(a address) string {
	if a.port != "" {
		return "-p " + a.port + " " + a.host
	}
	return a.host
}

// answerOf reads the words with which SSH servers refuse.
func answerOf(text string, err error) error {
	lower := strings.ToLower(text)
	said := fmt.Errorf("the server says: %s", printable(text))
	for _, phrase := range []string{"does not appear to be a git repository", "repository not found", "no such repository", "does not exist", "could not be found"} {
		if strings.Contains(lower, phrase) {
			return answer(status.GitOperationFailed, "check the path in the url, and that the key may read it", said)
		}
	}
	for _, phrase := range []string{"permission denied", "access denied", "not authorized", "unauthorized"} {
		if strings.Contains(lower, phrase) {
			return answer(status.AuthenticationFailed, "", said)
		}
	}
	return fmt.Errorf("%w (%w)", err, said)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// tail keeps the first bytes of what a server writes on its error channel.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

// Write implements [io.Writer].
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const most = 4096
	t.buf = append(t.buf, p[:min(len(p), most-len(t.buf))]...)
	return len(p), nil
}

// String returns what was kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.buf))
}
