package ambassador

import (
	"encoding/hex"
	"hash/fnv"
	"math/rand/v2"
	"strings"

	"github.com/remorahq/remora/internal/traffic"
)

// wholeShare is a share of everything.
const wholeShare = 10_000

// splitView is a canary's share made ready.
type splitView struct {
	spec   *traffic.Split
	rv     *releaseView
	salt   uint64
	cookie string // the cookie's name, with sticky by cookie
	header string // the header's name in lower case, with sticky by header
}

// newSplit returns nil where the table gives nothing away: no such release, or
// one that is no canary.
func newSplit(s *traffic.Service, releases []*releaseView) *splitView {
	if s.Split == nil || s.Split.Share <= 0 || s.Active == s.Split.Release {
		return nil
	}
	rv := canaryNamed(s.Split.Release, releases)
	if rv == nil {
		return nil
	}
	sp := &splitView{spec: s.Split, rv: rv, salt: hash64(s.Name + "\x00" + s.Split.Release)}
	switch name, isHeader := strings.CutPrefix(s.Split.Sticky, "header:"); {
	case isHeader:
		sp.header = strings.ToLower(name)
	case s.Split.Sticky == "cookie":
		sp.cookie = cookieName(s.Name)
	}
	return sp
}

// given says that a canary gets requests, or copies of them.
func given(s *traffic.Service, name string) bool {
	return s.Split != nil && s.Split.Release == name || s.Mirror != nil && s.Mirror.Release == name
}

func canaryNamed(name string, releases []*releaseView) *releaseView {
	for _, rv := range releases {
		if rv.spec.Name == name && rv.spec.State == traffic.Canary {
			return rv
		}
	}
	return nil
}

// cookieName is the same for a service over all its splits.
func cookieName(service string) string {
	h := fnv.New32a()
	h.Write([]byte(service))
	return "remora-" + hex.EncodeToString(h.Sum(nil))
}

// lot is where a want falls among ten thousand: below a canary's share it is
// the canary's. A client's lot does not depend on the share, so that a larger
// one only moves clients to the canary.
type lot struct {
	drawn bool
	point uint16
	// id is a new client's, for whom this cookie is to be set.
	id     clientID
	cookie string
}

// draw decides where the want falls, once for all of its attempts.
func (sp *splitView) draw(w *want) {
	h, ok := sp.known(w)
	if !ok {
		h = rand.Uint64()
	}
	w.lot.drawn, w.lot.point = true, uint16(h%wholeShare)
}

// known hashes what the client is kept by; false is a client that shows nothing
// of the kind. A tunnel shows its address only.
func (sp *splitView) known(w *want) (uint64, bool) {
	switch {
	case sp.spec.Sticky == "":
		return 0, false
	case sp.spec.Sticky == "address" || w.tunnel:
		return keyOfClient(w.client).mixed(sp.salt), true
	case sp.cookie != "":
		return sp.byCookie(w), true
	}
	value := w.by.fieldFromEnd(sp.header, 0)
	return mix64(hashBytes(sp.salt, value)), len(value) > 0
}

// byCookie hashes the client's ID, and gives one to a client that has none.
func (sp *splitView) byCookie(w *want) uint64 {
	id, ok := findCookie(w.by, sp.cookie)
	if !ok {
		id = newClientID()
		w.lot.id, w.lot.cookie = id, sp.cookie
	}
	return mix64(hashBytes(sp.salt, id[:]))
}

// choose is the release that a want goes to, or nil when there is none yet, and
// the one that would have got it if that fails. Whatever decides between
// releases decides here.
func (sv *serviceView) choose(w *want) (chosen, from *releaseView) {
	sp := sv.split
	if sp == nil || sv.active == nil {
		return sv.active, nil
	}
	well := sp.rv.fit(w.tried)
	switch {
	case w.pinned != nil && (sv.active.endpointView(w.pinned) != nil || sp.rv.endpointView(w.pinned) != nil):
		if well && sp.rv.endpointView(w.pinned) != nil {
			return sp.rv, nil
		}
		return sv.active, nil
	case sp.takes(w) && well:
		return sp.rv, nil
	case sp.takes(w):
		return sv.active, sp.rv
	case well && sv.active.refusing() && (sv.standby == nil || !sv.standby.open):
		return sp.rv, sv.active
	}
	return sv.active, nil
}

// takes says whether the want is the canary's.
func (sp *splitView) takes(w *want) bool {
	if !w.lot.drawn {
		sp.draw(w)
	}
	return int(w.lot.point) < sp.spec.Share
}

// FNV-1a, without a state on the heap.
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func hashBytes(h uint64, b []byte) uint64 {
	for _, c := range b {
		h = (h ^ uint64(c)) * fnvPrime
	}
	return h
}

func hash64(s string) uint64 { return hashBytes(fnvOffset, []byte(s)) }
