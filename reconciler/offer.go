package reconciler

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/remorahq/remora/reconciler/plan"
	"github.com/remorahq/remora/reconciler/rollout"
)

// offerTraffic hands the table keeper what the ambassador should carry for the
// app by now, and says whether it already does.
func (w *worker) offerTraffic(containers containerSet) (applied bool) {
	backends := rollout.Traffic(w.app, containers)
	if len(backends) == 0 && w.offered == "" {
		return true
	}
	part := plan.TrafficOf(w.app, backends, w.r.nets.namespaces())
	hash := hashOf(part)
	w.offered = hash
	return w.r.table.set(w.id, part, hash)
}

// hashOf identifies a part of the table by its content.
func hashOf(part plan.AppTraffic) string {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode(part); err != nil { // plain values only: cannot be
		panic(fmt.Sprintf("hash traffic: %v", err))
	}
	return hex.EncodeToString(h.Sum(nil))
}
