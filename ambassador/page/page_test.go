package page

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

func (p Page) field(name string) string {
	for _, f := range p.Fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// TestEveryReasonSaysWhatToDo: no answer leaves a person without a sentence and
// a remedy.
func TestEveryReasonSaysWhatToDo(t *testing.T) {
	seen := map[Code]bool{}
	for _, r := range Reasons() {
		if seen[r.Code] {
			t.Errorf("%s is there twice", r.Code)
		}
		seen[r.Code] = true
		if r.Title == "" || r.Text == "" {
			t.Errorf("%s says nothing", r.Code)
		}
		answered := r.Code != ClientLeft && r.Code != BrokenOff && r.Code != Kicked
		if answered && (r.Status < 300 || r.Visitor == "") {
			t.Errorf("%s: status %d, remedy %q", r.Code, r.Status, r.Visitor)
		}
		if r.Status == 503 && r.RetryAfter == 0 {
			t.Errorf("%s: 503 without Retry-After", r.Code)
		}
		if !regexp.MustCompile(`^[a-z][a-z0-9-]+$`).MatchString(string(r.Code)) {
			t.Errorf("code %q", r.Code)
		}
	}
	for status := 400; status < 600; status++ {
		if !seen[ForStatus(status)] {
			t.Errorf("status %d has no reason", status)
		}
	}
}

func TestAccept(t *testing.T) {
	for _, c := range []struct {
		accept string
		want   form
	}{
		{"", text},
		{"*/*", text}, // curl
		{"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", html}, // browsers
		{"application/json, text/plain, */*", problem},                                       // axios
		{"application/json;q=0.5, text/html;q=0.4", problem},
		{"text/html;q=0, */*;q=0.1", text},
		{"TEXT/HTML; level=1; Q=0.7, application/problem+json ; q=0.8", problem},
		{"application/json;q=9", text},
		{";;;,,,=;q", text},
		{"image/webp", text},
	} {
		if got := preferred([]byte(c.accept)); got != c.want {
			t.Errorf("%q: form %d, want %d", c.accept, got, c.want)
		}
	}
}

func TestForms(t *testing.T) {
	a := Answer{
		Code: Maintenance, Notice: "Back at <b>six</b> & \"sharp\".\nThe team\x1b[2J", RetryAfter: 1800,
		URL: URL(true, []byte("shop.example.com"), []byte("/cart?x=1")),
	}
	for accept, check := range map[string]func(*testing.T, Page){
		"text/html": func(t *testing.T, p Page) {
			for _, want := range []string{"<h1>Under maintenance</h1>", "Back at &lt;b&gt;six&lt;/b&gt; &amp; &#34;sharp&#34;.\nThe team[2J", "remora explain https://shop.example.com/cart<"} {
				if !bytes.Contains(p.Body, []byte(want)) {
					t.Errorf("no %q in\n%s", want, p.Body)
				}
			}
			if csp := p.field("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; style-src 'sha256-") || strings.Contains(csp, "unsafe") {
				t.Errorf("policy %q", csp)
			}
			if bytes.Contains(p.Body, []byte("http:")) || bytes.Contains(p.Body, []byte("<script")) || bytes.Contains(p.Body, []byte("url(")) {
				t.Errorf("the page asks for more than itself")
			}
		},
		"application/json": func(t *testing.T, p Page) {
			var got map[string]any
			if err := json.Unmarshal(p.Body, &got); err != nil {
				t.Fatal(err)
			}
			if got["status"] != 503. || got["reason"] != "maintenance" || got["type"] != "urn:remora:reason:maintenance" || got["retry_after"] != 1800. {
				t.Errorf("%v", got)
			}
			if p.field("Content-Type") != "application/problem+json" {
				t.Errorf("type %s", p.field("Content-Type"))
			}
		},
		"*/*": func(t *testing.T, p Page) {
			want := "503 Under maintenance\n\nBack at <b>six</b> & \"sharp\".\nThe team[2J\nThis service is being worked on.\nCome back later.\n\n" +
				"Reason: maintenance\nOperator: remora explain https://shop.example.com/cart\n"
			if string(p.Body) != want {
				t.Errorf("got %q", p.Body)
			}
		},
	} {
		a.Accept = []byte(accept)
		p := Make(a)
		if p.Status != 503 || p.field("Retry-After") != "1800" || p.field("Remora-Reason") != "maintenance" || p.field("Cache-Control") != "no-store" {
			t.Errorf("%s: %+v", accept, p)
		}
		check(t, p)
	}
}

func TestURLIsSafeToPaste(t *testing.T) {
	for _, c := range []struct{ host, path, want string }{
		{"shop.example.com", "/cart?token=1", "http://shop.example.com/cart"},
		{"shop.example.com:8080", "/a%20b/~c", "http://shop.example.com:8080/a%20b/~c"},
		{"[2001:db8::1]", "/", "http://[2001:db8::1]/"},
		{"shop.example.com", "/$(reboot)", "http://shop.example.com"},
		{"shop.example.com", "/a;b", "http://shop.example.com"},
		{"shop.example.com", "*", "http://shop.example.com"},
		{"shop.example.com;reboot", "/", ""},
		{"<script>", "/", ""},
		{"", "/", ""},
		{"a", "/" + strings.Repeat("x", 300), ""},
	} {
		if got := URL(false, []byte(c.host), []byte(c.path)); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.host, c.path, got, c.want)
		}
	}
}

func FuzzMake(f *testing.F) {
	f.Add([]byte("text/html;q=0.1,*/*"), []byte("shop"), []byte("/"))
	f.Fuzz(func(t *testing.T, accept, host, path []byte) {
		p := Make(Answer{Code: NoRoute, Accept: accept, URL: URL(false, host, path)})
		if p.Status != 404 || len(p.Body) == 0 {
			t.Fatalf("%+v", p)
		}
		if bytes.ContainsAny(p.Body, "\x00\x1b\r") {
			t.Fatalf("control characters: %q", p.Body)
		}
	})
}

func BenchmarkMake(b *testing.B) {
	for _, accept := range []string{"*/*", "text/html", "application/json"} {
		b.Run(strings.ReplaceAll(accept, "/", "_"), func(b *testing.B) {
			a := Answer{Code: RateLimited, Accept: []byte(accept), URL: "http://shop.example.com/"}
			b.ReportAllocs()
			for b.Loop() {
				Make(a)
			}
		})
	}
}
