package manifests

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// WholeShare is a share of everything: shares are in ten-thousandths.
const WholeShare = 10_000

// Canary gives a new release a growing share of the traffic before the switch.
type Canary struct {
	// Steps are the shares, in ten-thousandths, each larger than the one before.
	Steps []int `json:"steps,omitempty"`
	// Interval is how long each step lasts; default 30 s.
	Interval time.Duration `json:"interval"`
	// Sticky keeps a client with the release that it got: "cookie", "address" or
	// "header:NAME"; empty decides request by request.
	Sticky string `json:"sticky,omitempty"`
	// Mirror is the share of requests that the new release gets copies of, for
	// one interval before the first step; none where zero.
	Mirror int `json:"mirror,omitempty"`
}

// String says it as a person reads it: "mirror 10 %, 5 %, 25 %, 30s each, sticky
// by cookie".
func (c *Canary) String() string {
	var steps []string
	if c.Mirror > 0 {
		steps = append(steps, "mirror "+Percent(c.Mirror))
	}
	for _, s := range c.Steps {
		steps = append(steps, Percent(s))
	}
	text := fmt.Sprintf("%s, %s each", strings.Join(steps, ", "), c.Interval)
	if c.Sticky != "" {
		text += ", sticky by " + c.Sticky
	}
	return text
}

// Percent writes a share of ten thousand: "2.5 %".
func Percent(share int) string {
	return strconv.FormatFloat(float64(share)/100, 'f', -1, 64) + " %"
}
