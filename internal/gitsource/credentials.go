package gitsource

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// readSecret reads a credential's file, without the line end that editors
// leave. It is read for every operation, so that a change takes effect at
// once.
func readSecret(key, path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", answer(status.AuthenticationFailed, "set "+key+" to a file that remora can read",
			fmt.Errorf("read credentials: %w", err))
	}
	secret := strings.TrimRight(string(data), "\r\n")
	if secret == "" {
		return "", answer(status.AuthenticationFailed, "write the credential into it",
			fmt.Errorf("read credentials: %s is empty", path))
	}
	return secret, nil
}

// httpAuth returns what to send with each request; nil for nothing.
func httpAuth(auth manifests.Auth, a address) (transport.AuthMethod, error) {
	username := auth.Username
	if username == "" {
		username = a.username
	}
	switch {
	case auth.TokenFile != "":
		token, err := readSecret("auth.token_file", auth.TokenFile)
		if err != nil {
			return nil, err
		}
		if auth.Bearer {
			return &githttp.TokenAuth{Token: token}, nil
		}
		if username == "" {
			username = "git"
		}
		return &githttp.BasicAuth{Username: username, Password: token}, nil
	case auth.PasswordFile != "":
		password, err := readSecret("auth.password_file", auth.PasswordFile)
		if err != nil {
			return nil, err
		}
		return &githttp.BasicAuth{Username: username, Password: password}, nil
	case a.username != "" || a.password != "":
		return &githttp.BasicAuth{Username: a.username, Password: a.password}, nil
	}
	return nil, nil
}

// credentialFile names the file whose content was sent, for a remedy.
func credentialFile(auth manifests.Auth) string {
	for _, f := range []string{auth.TokenFile, auth.PasswordFile, auth.KeyFile} {
		if f != "" {
			return f
		}
	}
	return ""
}

// refused completes the error of refused credentials with the file to mend.
func refused(auth manifests.Auth, e *Error) *Error {
	if e.Reason != status.AuthenticationFailed || e.Remedy != "" {
		return e
	}
	if f := credentialFile(auth); f != "" {
		e.Remedy = "check the credential in " + f
	} else {
		e.Remedy = "the source has no credentials: set auth.token_file, auth.password_file or auth.key_file"
	}
	return e
}

// tlsConfig trusts the system's authorities and those of the CA file.
func tlsConfig(caFile string) (*tls.Config, []byte, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return config, nil, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, nil, answer(status.AuthenticationFailed, "set auth.ca_file to a file that remora can read",
			fmt.Errorf("read certificate authority: %w", err))
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, nil, answer(status.AuthenticationFailed, "write PEM certificates into it",
			fmt.Errorf("read certificate authority: %s holds no certificate", caFile))
	}
	config.RootCAs = pool
	return config, pem, nil
}
