package ambassador

import (
	"time"

	"github.com/remorahq/remora/ambassador/page"
)

// longestRetry bounds what Retry-After tells: plans change.
const longestRetry = 3600

// maintenance is the refusal of a service under maintenance.
func (sv *serviceView) maintenance(now time.Time) *refusal {
	r := refuse(page.Maintenance)
	r.notice = sv.spec.Notice
	if left := sv.spec.MaintenanceUntil.Sub(now); left > 0 {
		r.retryAfter = int(min(left/time.Second+1, longestRetry))
	}
	return r
}
