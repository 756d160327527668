package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

func TestPrune(t *testing.T) {
	for _, tt := range []struct {
		name      string
		runs      string // apps of the ledger
		folders   string
		notPlaced string
		removed   string
		confirmed bool
		same      string // a new app with the services of the ledger's
		remove    string
		held      string // part of the message
	}{
		{name: "nothing", runs: "a b", folders: "a b"},
		{name: "one", runs: "a b", folders: "b", remove: "a"},
		{name: "half_of_four", runs: "a b c d", folders: "a b", remove: "c d"},
		{name: "more_than_half", runs: "a b c d", folders: "a", held: "remove 3 of 4 apps: b, c, d"},
		{name: "more_than_half_of_three", runs: "a b c", folders: "c", remove: "a b"},
		{name: "listed", runs: "a b c d", folders: "a", removed: "b c", remove: "b c d"},
		{name: "listed_goes_though_rest_is_held", runs: "a b c d e f", folders: "f", removed: "b", remove: "b", held: "remove 4 of 6"},
		{name: "confirmed", runs: "a b c d", confirmed: true, remove: "a b c d"},
		{name: "vanished", runs: "a", held: "environment production vanished"},
		{name: "moved_to_other_hosts", runs: "a b", folders: "a b", notPlaced: "b", remove: "b"},
		{name: "rename", runs: "a", folders: "store", same: "store", held: "looks like a rename of a → store"},
		{name: "rename_that_is_meant", runs: "a", folders: "store", same: "store", removed: "a", remove: "a"},
		{name: "broken_stays", runs: "a b", folders: "a b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := PruneInput{
				Environment: "production", Folders: strings.Fields(tt.folders), NotPlaced: strings.Fields(tt.notPlaced),
				Removed: strings.Fields(tt.removed), Confirmed: tt.confirmed,
			}
			for name := range strings.FieldsSeq(tt.runs) {
				in.Ledger = append(in.Ledger, ledger.App{Name: name, Services: map[string]*ledger.Service{"web": {}, "db": {}}})
			}
			if tt.same != "" {
				in.Desired = []manifests.App{{Name: tt.same, Services: []manifests.Service{{Name: "web"}, {Name: "db"}}}}
			}
			r := Prune(in)
			if !slices.Equal(r.Remove, strings.Fields(tt.remove)) {
				t.Errorf("removes %q, want %q", r.Remove, tt.remove)
			}
			switch {
			case tt.held == "" && r.Held != nil:
				t.Errorf("held: %s", r.Held)
			case tt.held != "" && (r.Held == nil || r.Held.Reason != status.PruneHeld || !strings.Contains(r.Held.Message, tt.held) || r.Held.Remedy == ""):
				t.Errorf("held %+v, want %q", r.Held, tt.held)
			}
		})
	}
}
