package load

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// object reads a mapping of an extension strictly: every key must be asked
// for, and what was not is reported by done.
type object struct {
	app  *app
	path string
	data map[string]any
	used map[string]bool
}

// object wraps v; a value that is not a mapping is an error.
func (a *app) object(path string, v any) *object {
	o := &object{app: a, path: path, used: map[string]bool{}}
	if v == nil {
		return o
	}
	data, ok := v.(map[string]any)
	if !ok {
		a.fail(path, "", "a mapping of keys belongs here, not %q", fmt.Sprint(v))
	}
	o.data = data
	return o
}

func (o *object) get(key string) (any, bool) {
	o.used[key] = true
	v, ok := o.data[key]
	return v, ok && v != nil
}

func (o *object) at(key string) string { return join(o.path, key) }

// done reports the keys that nothing asked for.
func (o *object) done() {
	for _, key := range slices.Sorted(maps.Keys(o.data)) {
		if !o.used[key] {
			known := slices.Sorted(maps.Keys(o.used))
			o.app.fail(o.at(key), "known here: "+strings.Join(known, ", "), "unknown key %q", key)
		}
	}
}

// later refuses keys that this version does not carry out. Those that are not
// written are none that a typing error should be corrected to.
func (o *object) later(keys ...string) {
	for _, key := range keys {
		if _, written := o.data[key]; written {
			o.used[key] = true
			o.app.later(o.at(key), "")
		}
	}
}

func (o *object) text(key string, allowed ...string) string {
	v, ok := o.get(key)
	if !ok {
		return ""
	}
	s := scalar(v)
	if s == "" || len(allowed) > 0 && !slices.Contains(allowed, s) {
		remedy := ""
		if len(allowed) > 0 {
			remedy = "one of: " + strings.Join(allowed, ", ")
		}
		o.app.fail(o.at(key), remedy, "%q is not known here", fmt.Sprint(v))
		return ""
	}
	return s
}

// scalar returns a text, number or boolean as text; "" for anything else.
func scalar(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case int, int64, uint64, float64, bool:
		return fmt.Sprint(v)
	}
	return ""
}

func (o *object) boolean(key string) bool {
	v, ok := o.get(key)
	if !ok {
		return false
	}
	b, err := strconv.ParseBool(scalar(v))
	if err != nil {
		o.app.fail(o.at(key), "write true or false", "%q is neither true nor false", fmt.Sprint(v))
	}
	return b
}

func (o *object) integer(key string, lo, hi int) int {
	v, ok := o.get(key)
	if !ok {
		return 0
	}
	n, err := strconv.Atoi(scalar(v))
	if err != nil || n < lo || n > hi {
		o.app.fail(o.at(key), "", "%q is no whole number from %d to %d", fmt.Sprint(v), lo, hi)
		return 0
	}
	return n
}

func (o *object) port(key string) uint16 { return uint16(o.integer(key, 1, math.MaxUint16)) }

// duration returns the duration at key; ok is false where there is none.
func (o *object) duration(key string) (d time.Duration, ok bool) {
	v, ok := o.get(key)
	if !ok {
		return 0, false
	}
	s := scalar(v)
	if s == "0" {
		return 0, true
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		o.app.fail(o.at(key), "write such as 30s, 10m or 1h", "%q is no duration", fmt.Sprint(v))
		return 0, false
	}
	return d, true
}

// texts returns a text or a list of texts.
func (o *object) texts(key string) []string {
	v, ok := o.get(key)
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var out []string
	for i, item := range list {
		s := scalar(item)
		if s == "" {
			o.app.fail(fmt.Sprintf("%s[%d]", o.at(key), i), "", "a text belongs here")
			continue
		}
		out = append(out, s)
	}
	return out
}
