package page

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"
)

// Answer is one answer.
type Answer struct {
	Code Code
	// Status replaces the reason's; 0 keeps it.
	Status int
	// Detail replaces the reason's sentence, where it has more to say. It must be
	// fit for strangers.
	Detail string
	// Notice is what the operator wants visitors to read.
	Notice string
	// RetryAfter in seconds replaces the reason's; 0 keeps it.
	RetryAfter int
	// Accept is the client's field.
	Accept []byte
	// URL is what the operator can explain; see [URL].
	URL string
}

// Page is an answer made ready.
type Page struct {
	Status int
	// Fields are header fields, Content-Length not among them.
	Fields []Field
	Body   []byte
}

// Field is a header field.
type Field struct{ Name, Value string }

// maxNotice bounds what of a notice is shown.
const maxNotice = 2000

// Make makes the page of an answer.
func Make(a Answer) Page {
	r := Of(a.Code)
	if a.Status != 0 {
		r.Status = a.Status
	}
	if a.Detail != "" {
		r.Text = a.Detail
	}
	if a.RetryAfter != 0 {
		r.RetryAfter = a.RetryAfter
	}
	a.Notice = printableText(a.Notice)
	p := Page{Status: r.Status}
	kind := "text/plain; charset=utf-8"
	switch preferred(a.Accept) {
	case html:
		kind, p.Body = "text/html; charset=utf-8", htmlBody(r, a)
		p.Fields = append(p.Fields, Field{"Content-Security-Policy", policy}, Field{"Referrer-Policy", "no-referrer"})
	case problem:
		kind, p.Body = "application/problem+json", jsonBody(r, a)
	default:
		p.Body = textBody(r, a)
	}
	p.Fields = append(p.Fields, Field{"Content-Type", kind}, Field{"X-Content-Type-Options", "nosniff"},
		Field{"Cache-Control", "no-store"}, Field{"Remora-Reason", string(r.Code)})
	if r.RetryAfter > 0 {
		p.Fields = append(p.Fields, Field{"Retry-After", strconv.Itoa(r.RetryAfter)})
	}
	return p
}

// printableText bounds a notice and drops what would not be shown.
func printableText(s string) string {
	if len(s) > maxNotice {
		s = s[:maxNotice] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(s, ""))
}

// explain is the line for the operator.
func explain(url string) string {
	if url == "" {
		return ""
	}
	return "remora explain " + url
}

func textBody(r Reason, a Answer) []byte {
	var b strings.Builder
	b.WriteString(strconv.Itoa(r.Status) + " " + r.Title + "\n\n")
	for _, line := range []string{a.Notice, r.Text, r.Visitor} {
		if line != "" {
			b.WriteString(line + "\n")
		}
	}
	b.WriteString("\nReason: " + string(r.Code) + "\n")
	if line := explain(a.URL); line != "" {
		b.WriteString("Operator: " + line + "\n")
	}
	return []byte(b.String())
}

func jsonBody(r Reason, a Answer) []byte {
	body, err := json.Marshal(struct {
		Type       string `json:"type"`
		Title      string `json:"title"`
		Status     int    `json:"status"`
		Detail     string `json:"detail"`
		Notice     string `json:"notice,omitempty"`
		Reason     Code   `json:"reason"`
		Remedy     string `json:"remedy,omitempty"`
		Operator   string `json:"operator,omitempty"`
		RetryAfter int    `json:"retry_after,omitempty"`
	}{"urn:remora:reason:" + string(r.Code), r.Title, r.Status, r.Text, a.Notice, r.Code, r.Visitor, explain(a.URL), r.RetryAfter})
	if err != nil {
		return textBody(r, a) // texts and numbers always encode
	}
	return append(body, '\n')
}

// style is the whole of the page's looks. It is allowed by its hash.
const style = `:root{color-scheme:light dark;--back:#f4f6f8;--card:#fff;--ink:#1b2733;--faint:#5a6875;--line:#d9e0e6;--mark:#0b6e8f}
@media(prefers-color-scheme:dark){:root{--back:#10161b;--card:#18212a;--ink:#e6edf2;--faint:#9db0bd;--line:#2b3944;--mark:#6cc5e0}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.25rem;background:var(--back);color:var(--ink);font:1.0625rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{width:100%;max-width:36rem;background:var(--card);border:1px solid var(--line);border-radius:.75rem;padding:clamp(1.25rem,5vw,2.5rem)}
.code{margin:0;color:var(--mark);font-weight:600;letter-spacing:.04em}
h1{margin:.25rem 0 1rem;font-size:clamp(1.5rem,6vw,2rem);line-height:1.2}
p{margin:0 0 .75rem;overflow-wrap:anywhere}
.notice{white-space:pre-line;border-left:.25rem solid var(--mark);padding-left:.875rem;margin:0 0 1rem}
footer{margin-top:1.5rem;padding-top:1rem;border-top:1px solid var(--line);color:var(--faint);font-size:.875rem}
footer p{margin:0 0 .25rem}
code{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;font-size:.9em}`

// policy lets the page do nothing but show itself.
var policy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")

func htmlBody(r Reason, a Answer) []byte {
	var b strings.Builder
	part := func(before, s, after string) {
		if s != "" {
			b.WriteString(before + escape.Replace(s) + after + "\n")
		}
	}
	b.WriteString("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<meta name=\"robots\" content=\"noindex\">\n")
	part("<title>", r.Title, "</title>")
	b.WriteString("<style>" + style + "</style>\n</head>\n<body>\n<main>\n")
	part(`<p class="code">`, strconv.Itoa(r.Status), "</p>")
	part("<h1>", r.Title, "</h1>")
	part(`<p class="notice">`, a.Notice, "</p>")
	part("<p>", r.Text, "</p>")
	part("<p>", r.Visitor, "</p>")
	b.WriteString("<footer>\n")
	part("<p>Reason: <code>", string(r.Code), "</code></p>")
	part("<p>For who runs this server: <code>", explain(a.URL), "</code></p>")
	b.WriteString("</footer>\n</main>\n</body>\n</html>\n")
	return []byte(b.String())
}
