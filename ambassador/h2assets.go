package ambassador

import "net/http"

// borrowing is how far a stream has come with an asset that its release does not
// have: none, to ask another release, asked, and to go back to the first one's
// answer for good.
type borrowing int

const (
	noAsset borrowing = iota
	toBorrow
	borrows
	goesBack
)

// asksLender says that an answer of the status is dropped, because another
// release is asked for the asset, or because that does not have it either: then
// the first one is asked again. A container's answer cannot be put aside here as
// exchange.borrowed does.
func (s *stream) asksLender(status int) bool {
	switch s.asset {
	case noAsset:
		if status != http.StatusNotFound || s.grpc || s.req.Pins || !s.want.isAsset(s.req) || s.want.route.sv.lender(s.claim.rel) == nil {
			return false
		}
		s.asset = toBorrow
		return true
	case borrows:
		if status < http.StatusBadRequest {
			s.claim.rel.lent.Add(1)
			return false
		}
		s.asset = goesBack
		return true
	case toBorrow, goesBack:
	}
	return false
}

// acquire claims a release for the next attempt.
func (s *stream) acquire() (claim, error) {
	if s.asset == toBorrow {
		s.asset = borrows
		if cl, ok := s.k.wk.borrow(s.want.route, s.claim.rel); ok {
			return cl, nil
		}
	}
	if s.asset == borrows {
		s.asset = goesBack // what was asked last had none, or no answer
	}
	return s.k.wk.acquire(&s.want)
}
