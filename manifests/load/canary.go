package load

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// canary reads {steps, interval, sticky, mirror}.
func (a *app) canary(path string, v any) *manifests.Canary {
	o := a.object(path, v)
	c := &manifests.Canary{Interval: manifests.DefaultCanaryInterval, Sticky: a.sticky(o)}
	c.Steps = a.canarySteps(o)
	if d, ok := o.duration("interval"); ok {
		if c.Interval = d; d < time.Second {
			a.fail(o.at("interval"), "such as 30s", "a step of %s is too short to see anything", d)
		}
	}
	if text := o.text("mirror"); text != "" {
		c.Mirror = a.share(o.at("mirror"), text, manifests.WholeShare)
	}
	_, steps := o.get("steps")
	_, mirror := o.get("mirror")
	if !steps && !mirror {
		a.fail(path, "write `steps: [5%, 25%, 50%]`", "the canary has no steps")
	}
	o.later("rollback_on")
	o.done()
	return c
}

// canarySteps reads the shares, which have to grow.
func (a *app) canarySteps(o *object) []int {
	var out []int
	for i, text := range o.texts("steps") {
		at := fmt.Sprintf("%s[%d]", o.at("steps"), i)
		if text == "pause" {
			a.add(manifests.Diagnostic{
				Field: at, Reason: status.NotInThisVersion, Message: "a step `pause` is not in this version",
				Remedy: "write shares of the traffic; each lasts for the interval",
			})
			continue
		}
		n := a.share(at, text, manifests.WholeShare-1)
		if n > 0 && len(out) > 0 && n <= out[len(out)-1] {
			a.fail(at, "write the shares in growing order", "%s is not more than the step before", text)
		}
		if n > 0 {
			out = append(out, n)
		}
	}
	return out
}

// share reads a percentage above 0 as ten-thousandths; 0 where it is wrong.
func (a *app) share(path, text string, most int) int {
	number, isPercent := strings.CutSuffix(text, "%")
	f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	n := int(math.Round(f * 100))
	if err != nil || !isPercent || !(f > 0) || n < 1 || n > most {
		a.fail(path, "write such as 5% or 0.5%", "%q is no percentage above 0 and up to %s", text, manifests.Percent(most))
		return 0
	}
	return n
}

// sticky reads what keeps a client with its release.
func (a *app) sticky(o *object) string {
	text := o.text("sticky")
	name, isHeader := strings.CutPrefix(text, "header:")
	switch {
	case text == "" || text == "cookie" || text == "address":
		return text
	case isHeader && isToken(name):
		return "header:" + strings.ToLower(name)
	}
	a.fail(o.at("sticky"), "write cookie, address or header:NAME", "%q is not known here", text)
	return ""
}

// isToken says whether a text may be a header's name (RFC 9110 §5.1).
func isToken(s string) bool {
	for _, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", r) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// canaries reports services that cannot have one: two releases have to run at
// once, and to share what comes in.
func (c *converter) canaries() {
	for i := range c.out.Services {
		s := &c.out.Services[i]
		if s.Canary == nil {
			continue
		}
		at := "services." + s.Name + ".x-remora.canary"
		switch {
		case s.Kind != manifests.KindEndpoint:
			c.fail(at, "remove it, or give the service a port or a route", "a canary gets a share of the traffic, and %s has none", s.Name)
		case s.Order == manifests.StopFirst:
			c.fail(at, "remove it, or let two containers run at once",
				"a canary runs beside the release that serves, and %s is %s", s.Name, s.OrderWhy)
		}
	}
}
