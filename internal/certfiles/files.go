package certfiles

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// maxFile bounds a certificate's file, and maxLinks the links on the way to it.
const (
	maxFile  = 1 << 20
	maxLinks = 40
)

// soon is from when on a certificate's end is told.
const soon = 7 * 24 * time.Hour

// state reads the files; what is bad keeps what was good before.
func (f Files) state(was State, now time.Time) State {
	chain, key, err := f.read(now)
	if err == nil {
		return State{Chain: chain, Key: key}
	}
	s := was
	if text := err.Error(); text != was.Trouble {
		s.Trouble, s.Since = text, now
	}
	return s
}

func (s State) same(o State) bool {
	return s.Trouble == o.Trouble && bytes.Equal(s.Chain, o.Chain) && bytes.Equal(s.Key, o.Key)
}

// read returns the files' content if it can be used.
func (f Files) read(now time.Time) (chain, key []byte, err error) {
	chain, err = readFile(f.Chain)
	if err != nil {
		return nil, nil, err
	}
	if f.Key == "" {
		return chain, nil, authorities(f.Chain, chain, now)
	}
	if key, err = readFile(f.Key); err != nil {
		return nil, nil, err
	}
	pair, err := tls.X509KeyPair(chain, key)
	switch {
	case err != nil:
		// The library's words, which quote nothing of the key.
		return nil, nil, fmt.Errorf("%s and %s are no pair: %s", f.Chain, f.Key, strings.TrimPrefix(err.Error(), "tls: "))
	case now.After(pair.Leaf.NotAfter):
		return nil, nil, fmt.Errorf("%s ended at %s", f.Chain, pair.Leaf.NotAfter.Format(time.RFC3339))
	}
	return chain, key, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would keep us waiting
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is larger than %d KiB", path, maxFile>>10)
	}
	return data, err
}

// authorities checks a file of authorities.
func authorities(path string, data []byte, now time.Time) error {
	good := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if now.Before(c.NotAfter) {
			good++
		}
	}
	if good == 0 {
		return fmt.Errorf("%s has no certificate of an authority that has not ended", path)
	}
	return nil
}

// Warnings says what people should know of a pair that can be used: host names
// that it is not for, and an end that is near. chain is PEM.
func Warnings(chain []byte, hosts []string, now time.Time) []string {
	block, _ := pem.Decode(chain)
	if block == nil {
		return nil
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	var out []string
	for _, host := range hosts {
		if host != "" && !covers(leaf, host) {
			out = append(out, "the certificate is not for "+host)
		}
	}
	if left := leaf.NotAfter.Sub(now); left < soon {
		out = append(out, "the certificate ends at "+leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return out
}

// covers says whether a certificate is for a host name; for a wildcard, whether
// it is for every name of it.
func covers(leaf *x509.Certificate, host string) bool {
	if suffix, wild := strings.CutPrefix(host, "*."); wild {
		host = "any-name." + suffix
	}
	return leaf.VerifyHostname(host) == nil
}

// Check reads a pair, or authorities with an empty key, and says what is wrong.
func Check(f Files, now time.Time) error {
	_, _, err := f.read(now)
	return err
}

// folders are all folders in which a change could lead the path elsewhere: the
// file's own and that of every link on the way, as certbot and Kubernetes swap
// them.
func folders(path string) []string {
	var out []string
	seen := map[string]bool{}
	add := func(dir string) {
		if !seen[dir] {
			seen[dir] = true
			out = append(out, dir)
		}
	}
	rest, at := parts(path), "/"
	for links := 0; len(rest) > 0 && links <= maxLinks; {
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		target, err := os.Readlink(next)
		switch {
		case errors.Is(err, os.ErrNotExist):
			add(at)
			return out
		case err != nil: // no link
			if len(rest) == 0 {
				add(at)
			}
			at = next
			continue
		}
		add(at)
		if filepath.IsAbs(target) {
			at = "/"
		}
		links++
		rest = append(parts(target), rest...)
	}
	return out
}

func parts(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}
