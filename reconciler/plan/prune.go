package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// pruneGuard is the number of apps beyond which losing more than half of them
// at once needs a person's word.
const pruneGuard = 3

// PruneInput is what decides which apps are taken away.
type PruneInput struct {
	Environment string
	// Ledger holds the apps of this source and environment that run here.
	Ledger []ledger.App
	// Folders are all app folders of the environment, loaded or not; none says
	// that the environment is gone.
	Folders []string
	// Desired are the apps that loaded, NotPlaced those that belong on other
	// hosts.
	Desired   []manifests.App
	NotPlaced []string
	// Removed is the environment file's own list: the commit says it is meant.
	Removed []string
	// Confirmed says that a person confirmed this revision's removals.
	Confirmed bool
}

// PruneResult is what is taken away, by app name in order, or why nothing is.
type PruneResult struct {
	Remove []string
	Held   *Held
}

// Prune says which apps the environment no longer has here. An app that only
// failed to load stays. A removal that looks like a mistake is held as a
// whole, but for what the commit itself lists as removed.
func Prune(in PruneInput) PruneResult {
	gone := in.gone()
	if in.Confirmed {
		return PruneResult{Remove: gone}
	}
	listed := map[string]bool{}
	for _, name := range in.Removed {
		listed[name] = true
	}
	meant := slices.DeleteFunc(slices.Clone(gone), func(n string) bool { return !listed[n] })
	rest := slices.DeleteFunc(slices.Clone(gone), func(n string) bool { return listed[n] })
	if held := in.guard(rest); held != nil {
		return PruneResult{Remove: meant, Held: held}
	}
	return PruneResult{Remove: gone}
}

// gone are the ledger's apps that have no folder any more or are not placed
// here.
func (in *PruneInput) gone() []string {
	var out []string
	for _, a := range in.Ledger {
		if !slices.Contains(in.Folders, a.Name) || slices.Contains(in.NotPlaced, a.Name) {
			out = append(out, a.Name)
		}
	}
	slices.Sort(out)
	return out
}

// guard holds what looks like a mistake.
func (in *PruneInput) guard(gone []string) *Held {
	if len(gone) == 0 {
		return nil
	}
	remedy := fmt.Sprintf("write `removed: [%s]` in environment.yaml, or `remora prune --confirm REV`", strings.Join(gone, ", "))
	switch old, renamed := in.rename(gone); {
	case len(in.Folders) == 0:
		return &Held{Reason: status.PruneHeld, Remedy: remedy, Message: fmt.Sprintf(
			"environment %s vanished from the repository; its %d apps keep running", in.Environment, len(in.Ledger))}
	case renamed != "":
		return &Held{Reason: status.PruneHeld, Message: fmt.Sprintf("looks like a rename of %s → %s; both would not share data", old, renamed), Remedy: fmt.Sprintf(
			"rename the folder back and set `name:` instead, or %s", remedy)}
	case len(in.Ledger) > pruneGuard && 2*len(gone) > len(in.Ledger):
		return &Held{Reason: status.PruneHeld, Remedy: remedy, Message: fmt.Sprintf(
			"the commit would remove %d of %d apps: %s", len(gone), len(in.Ledger), list(gone))}
	}
	return nil
}

// rename finds an app that is gone while a new one with the same services
// appears.
func (in *PruneInput) rename(gone []string) (old, renamed string) {
	for i := range in.Ledger {
		a := &in.Ledger[i]
		if !slices.Contains(gone, a.Name) || slices.Contains(in.NotPlaced, a.Name) {
			continue
		}
		for j := range in.Desired {
			d := &in.Desired[j]
			if !in.known(d.Name) && sameServices(a, d) {
				return a.Name, d.Name
			}
		}
	}
	return "", ""
}

func (in *PruneInput) known(app string) bool {
	return slices.ContainsFunc(in.Ledger, func(a ledger.App) bool { return a.Name == app })
}

// sameServices says that the app that is gone ran just what the new one wants.
func sameServices(a *ledger.App, d *manifests.App) bool {
	var wanted []string
	for _, s := range d.Services {
		wanted = append(wanted, s.Name)
	}
	slices.Sort(wanted)
	return len(wanted) > 0 && slices.Equal(slices.Sorted(maps.Keys(a.Services)), wanted)
}
