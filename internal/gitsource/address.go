package gitsource

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
)

// address is a parsed repository URL. Credentials that were written into it
// are kept apart, so that no text made from it can hold them.
type address struct {
	scheme string // http, https, ssh, git or file
	user   string // of ssh
	host   string // without brackets
	port   string // empty: the scheme's
	path   string
	query  string

	username, password string // of http, from the URL
}

// String returns the URL without credentials.
func (a address) String() string {
	switch a.scheme {
	case "file":
		return "file://" + a.path
	case "ssh":
		if a.user != "" {
			return "ssh://" + a.user + "@" + a.hostport("") + a.path
		}
	}
	text := a.scheme + "://" + a.hostport("") + a.path
	if a.query != "" {
		text += "?" + a.query
	}
	return text
}

// hostport returns host:port for dialling, with standard for a URL without a
// port; with standard empty it returns the host alone then.
func (a address) hostport(standard string) string {
	port := a.port
	if port == "" {
		port = standard
	}
	switch {
	case port != "":
		return net.JoinHostPort(a.host, port)
	case strings.Contains(a.host, ":"):
		return "[" + a.host + "]"
	}
	return a.host
}

// parseAddress reads https://, http://, ssh://, git://, file:// and the short
// form user@host:path. Its errors never repeat a password.
func parseAddress(text string) (address, error) {
	if !strings.Contains(text, "://") {
		return parseShort(text)
	}
	u, err := url.Parse(text)
	if err != nil {
		return address{}, errors.New("the url cannot be parsed")
	}
	a := address{scheme: strings.ToLower(u.Scheme), host: u.Hostname(), port: u.Port(), path: u.EscapedPath(), query: u.RawQuery}
	switch a.scheme {
	case "http", "https":
		a.username = u.User.Username()
		a.password, _ = u.User.Password()
	case "ssh":
		a.user, a.path = u.User.Username(), u.Path
		if _, ok := u.User.Password(); ok {
			return address{}, errors.New("a password in an ssh url is not used; set auth.password_file or auth.key_file")
		}
	case "git":
		a.path = u.Path
	case "file":
		a.path = u.Path
		if a.host != "" && a.host != "localhost" {
			return address{}, fmt.Errorf("file url with host %q; write file:///path", a.host)
		}
	default:
		return address{}, fmt.Errorf("unknown scheme %q; use https, http, ssh, git or file", u.Scheme)
	}
	return a, a.check()
}

func parseShort(text string) (address, error) {
	m := regexp.MustCompile(`^(?:([^@/:\s]+)@)?([^:/@\s]+):([^\s].*)$`).FindStringSubmatch(text)
	if m == nil {
		return address{}, fmt.Errorf("%q is no repository url; use https://, ssh://, user@host:path, git:// or file:///path", printable(text))
	}
	a := address{scheme: "ssh", user: m[1], host: m[2], path: m[3]}
	return a, a.check()
}

func (a address) check() error {
	switch {
	case a.scheme != "file" && a.host == "":
		return errors.New("the url has no host")
	case strings.HasPrefix(a.host, "-") || strings.HasPrefix(a.user, "-"):
		return errors.New("the url's host or user begins with a dash")
	case a.path == "" || a.path == "/":
		return errors.New("the url has no path")
	case strings.ContainsAny(a.path+a.host+a.user, "\x00\n\r"):
		return errors.New("the url holds a control character")
	}
	return nil
}
