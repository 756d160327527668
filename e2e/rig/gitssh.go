package rig

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// GitSSH is OpenSSH's server over a folder of repositories, for the user who
// runs the test, with a key of its own as the only one let in.
type GitSSH struct {
	Root string // folder of the repositories
	User string
	Addr string // host:port

	KeyFile        string // private key that is let in
	EncryptedKey   string // the same, protected by KeyPassphrase
	StrangerKey    string // private key that is not let in
	KnownHostsFile string // pins the server's host key; rewritten by [GitSSH.Pin] only

	dir     string
	hostKey ssh.PublicKey
	process *process
}

// KeyPassphrase opens [GitSSH.EncryptedKey].
const KeyPassphrase = "open sesame"

// StartGitSSH serves until the test ends.
func StartGitSSH(t TB, options GitOptions) *GitSSH {
	t.Helper()
	me, err := user.Current()
	must(t, "find out who I am", err)
	dir := t.TempDir()
	s := &GitSSH{
		Root: filepath.Join(dir, "repos"), User: me.Username, dir: dir,
		Addr:    net.JoinHostPort(options.addr(), strconv.Itoa(FreePort(t))),
		KeyFile: filepath.Join(dir, "id"), EncryptedKey: filepath.Join(dir, "id_encrypted"),
		StrangerKey: filepath.Join(dir, "id_stranger"), KnownHostsFile: filepath.Join(dir, "known_hosts"),
	}
	must(t, "make folder of repositories", os.Mkdir(s.Root, 0o755))
	must(t, "make keys", s.makeKeys())
	s.newHostKey(t)
	s.Pin(t)
	t.Cleanup(func() { s.Stop(t) })
	s.Start(t)
	return s
}

// NewRepo makes an empty repository on the server.
func (s *GitSSH) NewRepo(t TB, name string) *Repo { t.Helper(); return NewRepo(t, s.Root, name) }

// URL is the ssh:// URL of a repository.
func (s *GitSSH) URL(name string) string {
	return fmt.Sprintf("ssh://%s@%s%s", s.User, s.Addr, filepath.Join(s.Root, name))
}

// Command is a GIT_SSH_COMMAND with which git itself reaches the server.
func (s *GitSSH) Command() string {
	return fmt.Sprintf("ssh -F /dev/null -i %s -o IdentitiesOnly=yes -o IdentityAgent=none -o UserKnownHostsFile=%s -o StrictHostKeyChecking=yes",
		s.KeyFile, s.KnownHostsFile)
}

// Start serves again after [GitSSH.Stop].
func (s *GitSSH) Start(t TB) {
	t.Helper()
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		sshd = "/usr/sbin/sshd" // not in every user's PATH
	}
	if _, err := os.Stat(sshd); err != nil {
		t.Fatalf("find sshd: %v: install it, for instance with `apt-get install openssh-server`", err)
	}
	if os.Geteuid() == 0 {
		must(t, "make folder for sshd's privilege separation", os.MkdirAll("/run/sshd", 0o755))
	}
	must(t, "configure sshd", s.configure())
	cmd := exec.Command(sshd, "-D", "-e", "-f", filepath.Join(s.dir, "sshd_config"))
	p, err := startProcess("sshd", filepath.Join(s.dir, "log"), cmd)
	must(t, "start sshd", err)
	s.process = p
	Eventually(t, 10*time.Second, "wait for sshd", func() error {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Addr)
		if err != nil {
			return errors.Join(err, p.alive())
		}
		return conn.Close()
	})
}

// Stop ends the server: connections are refused. It is idempotent.
func (s *GitSSH) Stop(t TB) {
	if err := s.process.stop(syscall.SIGTERM, 10*time.Second); err != nil {
		t.Errorf("stop sshd: %v", err)
	}
}

// RotateHostKey gives the server another host key; the pinned one stays what
// it was until [GitSSH.Pin].
func (s *GitSSH) RotateHostKey(t TB) {
	t.Helper()
	s.Stop(t)
	s.newHostKey(t)
	s.Start(t)
}

// Pin writes the server's present host key into KnownHostsFile.
func (s *GitSSH) Pin(t TB) {
	t.Helper()
	line := knownhosts.Line([]string{knownhosts.Normalize(s.Addr)}, s.hostKey)
	must(t, "pin host key", os.WriteFile(s.KnownHostsFile, []byte(line+"\n"), 0o600))
}

func (s *GitSSH) configure() error {
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return err
	}
	config := fmt.Sprintf(`ListenAddress %s
Port %s
HostKey %s
AuthorizedKeysFile %s
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
SetEnv GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=*
`, host, port, filepath.Join(s.dir, "host_key"), filepath.Join(s.dir, "authorized_keys"))
	return os.WriteFile(filepath.Join(s.dir, "sshd_config"), []byte(config), 0o600)
}

func (s *GitSSH) makeKeys() error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	authorized, err := ssh.NewPublicKey(public)
	if err != nil {
		return err
	}
	line := bytes.TrimSpace(ssh.MarshalAuthorizedKey(authorized))
	// git is all that the key is good for.
	line = fmt.Appendf(nil, "restrict,command=\"git-shell -c \\\"$SSH_ORIGINAL_COMMAND\\\"\" %s\n", line)
	encrypted, err := ssh.MarshalPrivateKeyWithPassphrase(private, "rig", []byte(KeyPassphrase))
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(s.dir, "authorized_keys"), line, 0o600),
		os.WriteFile(s.EncryptedKey, pem.EncodeToMemory(encrypted), 0o600),
		writeKey(s.KeyFile, private), writeKey(s.StrangerKey, stranger))
}

func (s *GitSSH) newHostKey(t TB) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, "make host key", err)
	s.hostKey, err = ssh.NewPublicKey(public)
	must(t, "make host key", err)
	must(t, "write host key", writeKey(filepath.Join(s.dir, "host_key"), private))
}

func writeKey(path string, key ed25519.PrivateKey) error {
	block, err := ssh.MarshalPrivateKey(key, "rig")
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(block), 0o600)
}
