package cli

import (
	"fmt"
	"strings"
	"time"
)

// ago is the time between two moments in one short word: 12s, 4m, 3h, 9d.
func ago(from, now time.Time) string {
	if from.IsZero() {
		return ""
	}
	return short(now.Sub(from))
}

func short(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// revision is a revision as people write it: main@67e2c98a, not
// main@sha1:67e2c98a1234….
func revision(s string) string {
	ref, sha, ok := strings.Cut(s, "@")
	if !ok {
		return abbreviate(s)
	}
	return ref + "@" + abbreviate(sha)
}

// abbreviate shortens a commit, a digest or the name of a release, whose
// algorithm or version stands before a colon.
func abbreviate(sha string) string {
	if kind, digits, ok := strings.Cut(sha, ":"); ok && len(digits) >= 7 && isHex(digits) && !strings.Contains(kind, "/") {
		sha = digits
	}
	if len(sha) > 8 && isHex(sha) {
		return sha[:8]
	}
	return sha
}

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}

// moment is a point in time for a list: the day only where it is not today.
func moment(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}
