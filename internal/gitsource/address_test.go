package gitsource

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]address{
		"https://git.example.com/fleet.git":       {scheme: "https", host: "git.example.com", path: "/fleet.git"},
		"https://joe:pw@git.example.com:8443/f":   {scheme: "https", host: "git.example.com", port: "8443", path: "/f", username: "joe", password: "pw"},
		"http://[::1]:3000/f?x=1":                 {scheme: "http", host: "::1", port: "3000", path: "/f", query: "x=1"},
		"ssh://git@git.example.com/srv/fleet.git": {scheme: "ssh", user: "git", host: "git.example.com", path: "/srv/fleet.git"},
		"git@git.example.com:group/fleet.git":     {scheme: "ssh", user: "git", host: "git.example.com", path: "group/fleet.git"},
		"git.example.com:fleet":                   {scheme: "ssh", host: "git.example.com", path: "fleet"},
		"git://git.example.com/fleet":             {scheme: "git", host: "git.example.com", path: "/fleet"},
		"file:///srv/fleet.git":                   {scheme: "file", path: "/srv/fleet.git"},
	} {
		got, err := parseAddress(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(address{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	for _, text := range []string{
		"", "/srv/fleet.git", "fleet", "ftp://x/y", "https://", "https:///x", "https://host", "ssh://-oProxyCommand=x/y",
		"-oProxyCommand=x:y", "ssh://git:s3cret@host/x", "file://host/x", "https://joe:s3cret@ho st/x", "git://host/a\nb", "https://x:s3cret@%zz/",
	} {
		a, err := parseAddress(text)
		if err == nil {
			t.Errorf("%q became %+v", text, a)
			continue
		}
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: the error repeats the password: %v", text, err)
		}
	}
}

// Whatever the URL, no text made of it holds the password.
func FuzzAddressRedacts(f *testing.F) {
	for _, s := range []string{"https://joe:PASSWORD@host/x", "http://:PASSWORD@[::1]:1/x?y", "ssh://a:PASSWORD@h/x", "https://PASSWORD@h/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		head, rest, ok := strings.Cut(text, "://")
		if !ok || strings.Count(text, "PASSWORD") != 1 || strings.Contains(head, "PASSWORD") {
			t.Skip()
		}
		userinfo, _, ok := strings.Cut(rest, "@")
		if !ok || !strings.Contains(userinfo, "PASSWORD") || strings.ContainsAny(userinfo, "/?#") {
			t.Skip()
		}
		a, err := parseAddress(text)
		if err != nil && strings.Contains(err.Error(), "PASSWORD") {
			t.Errorf("the error of %q: %v", text, err)
		}
		if err == nil && a.scheme != "ssh" && strings.Contains(a.String(), "PASSWORD") {
			t.Errorf("%q became %s", text, a)
		}
	})
}
