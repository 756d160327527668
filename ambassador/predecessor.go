package ambassador

import "context"

// A worker whose successor leads is a predecessor: it accepts nothing, says so
// on each HTTP/1.1 connection with its next response, lets an idle connection
// close by its own time-out (never at once: the client may be about to send),
// and keeps tunnels, until the holder tells it to end them.

// End ends what still runs on a predecessor, and returns when nothing does or
// ctx ends: tunnels cleanly, spread over a while; then, as at a drain's
// deadline, requests.
func (wk *Worker) End(ctx context.Context) {
	steps := int(spread / kickEvery)
	for left := steps; wk.kickTunnels(left) > 0 || left > 1 && wk.busy(); left = max(left-1, 1) {
		if !pause(ctx, wk.stopping, kickEvery) {
			return
		}
	}
	for wk.busy() {
		wk.kickRequests()
		if !pause(ctx, wk.stopping, kickEvery) {
			return
		}
	}
}

// kickTunnels ends one part in left of all tunnels and says how many there were.
func (wk *Worker) kickTunnels(left int) (found int) {
	wk.eachRelease(func(r *release) {
		n := int(r.tunnels.Load())
		r.kick(true, (n+left-1)/left)
		found += n
	})
	return found
}

func (wk *Worker) kickRequests() {
	wk.eachRelease(func(r *release) { r.kick(false, 0) })
}

// eachRelease goes over the releases of the table in force.
func (wk *Worker) eachRelease(f func(*release)) {
	for _, sv := range wk.view.Load().services {
		for _, rv := range sv.releases {
			f(rv.rel)
		}
	}
}
