package smuggling

import (
	"fmt"
	"slices"
	"strings"
)

// Judge says what is wrong with an outcome, or nothing. client is the client's
// address as the proxy sees it.
func (c Case) Judge(o Outcome, client string) string {
	texts := o.Texts()
	if !o.Ended {
		return fmt.Sprintf("the connection was not ended; answers %v", o.Statuses)
	}
	if c.Refused() {
		return c.judgeRefused(o, texts)
	}
	if want := append(slices.Clone(c.Want), "GET /last "); !slices.Equal(texts, want) {
		return fmt.Sprintf("the backend saw %q, want %q; answers %v", texts, want, o.Statuses)
	}
	for _, s := range o.Statuses {
		if s != 200 {
			return fmt.Sprintf("answers %v, want 200s", o.Statuses)
		}
	}
	if len(o.Statuses) != len(c.Want)+1 {
		return fmt.Sprintf("%d answers to %d requests", len(o.Statuses), len(c.Want)+1)
	}
	return c.judgeFields(o.Seen[0], client)
}

func (c Case) judgeRefused(o Outcome, texts []string) string {
	switch {
	case len(texts) > 0:
		return fmt.Sprintf("the backend saw %q", texts)
	case len(o.Statuses) > 1, len(o.Statuses) == 1 && (o.Statuses[0] < 400 || o.Statuses[0] == 502):
		return fmt.Sprintf("answers %v", o.Statuses)
	}
	return ""
}

func (c Case) judgeFields(s Seen, client string) string {
	for _, name := range c.Absent {
		if v, ok := s.Header[name]; ok {
			return fmt.Sprintf("%s reached the backend: %q", name, v)
		}
	}
	for _, line := range c.Present {
		name, want, _ := strings.Cut(strings.ReplaceAll(line, "{client}", client), ": ")
		if got := s.Header[name]; !slices.Equal(got, []string{want}) {
			return fmt.Sprintf("%s is %q, want %q", name, got, want)
		}
	}
	return ""
}

// Texts are what reached the backend.
func (o Outcome) Texts() []string {
	var out []string
	for _, s := range o.Seen {
		out = append(out, s.Text)
	}
	return out
}

// Class is an outcome in a few words, for comparing proxies.
func (o Outcome) Class(c Case) string {
	texts := o.Texts()
	if !c.Refused() {
		texts = slices.DeleteFunc(texts, func(s string) bool { return s == "GET /last " })
	}
	switch {
	case len(texts) > 0:
		return fmt.Sprintf("forwards %q", texts)
	case !o.Ended:
		return "waits"
	case len(o.Statuses) > 0:
		return fmt.Sprintf("answers %d", o.Statuses[0])
	}
	return "closes"
}
