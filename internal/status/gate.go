package status

import "slices"

// GateRow is one row of the table behind `remora explain`: a condition that a
// commit passes on its way to traffic, and the reasons for which it holds one
// back there.
type GateRow struct {
	Name string
	// Passed is what the row says once it is passed.
	Passed string
	// Holds are the reasons that hold here. Every reason is in exactly one row.
	Holds []Reason
	// Who can change it.
	Who string
}

// Gates returns the table of gates in the order from commit to traffic.
func Gates() []GateRow {
	const (
		author   = "the author of the commit"
		operator = "the operator of this host"
		person   = "whoever may use remora on this host"
		remora   = "remora, by itself"
	)
	return []GateRow{
		{"fetched", "the repository answers", []Reason{GitOperationFailed, AuthenticationFailed}, operator},
		{"history", "the branch or tag moved forward", []Reason{HistoryRewritten, TagMoved}, author},
		{"signature", "as the host demands", []Reason{VerificationFailed}, author},
		{"selected", "the environment names this host", []Reason{NotSelected}, author},
		{"placed", "the app belongs on this host", []Reason{NotPlaced}, author},
		{"decrypted", "every secret can be read", []Reason{DecryptFailed}, operator},
		{"loaded", "the manifests have no errors", []Reason{LoadFailed, NotInThisVersion}, author},
		{"policy", "the host allows what is asked for", []Reason{PolicyDenied}, operator},
		{"owned", "ports, routes and names are the app's own", []Reason{PortConflict, RouteConflict, NameConflict, Foreign}, author},
		{"not held", "no person and no guard holds it", []Reason{Suspended, Pinned, StoppedByHand, PruneHeld}, person},
		{"not quarantined", "no release in it failed here", []Reason{Quarantined}, author},
		{"window", "changes are allowed now", []Reason{WaitingForWindow, Frozen}, author},
		{"fleet slot", "granted", []Reason{WaitingForFleetSlot, FleetHalted, ConsulUnavailable}, operator},
		{"engine", "answers", []Reason{EngineUnavailable}, operator},
		{"dependencies", "are healthy", []Reason{DependencyNotReady}, remora},
		{"volumes", "are in their place", []Reason{VolumeInUse, VolumeMissing}, operator},
		{"room", "enough memory and disk", []Reason{WaitingForMemory, DiskLow}, operator},
		{"images", "are on this host", []Reason{ImagePullFailed, RegistryUnavailable}, author},
		{"jobs", "ended well", []Reason{WaitingForJob, JobFailed}, author},
		{"healthy", "every check passes", []Reason{HealthCheckFailed, CrashLoop}, author},
		{"rolled out", "all services are on it", []Reason{
			Progressing, Returning, Interrupted, Superseded, RolledBack, StatefulNotRolledBack,
		}, author},
		{"open", "visitors are let in", []Reason{Maintenance}, person},
		{"certificates", "hold nothing back; `remora routes` shows them", []Reason{CertificateFailed}, operator},
		{"traffic", "is on it", []Reason{Succeeded, NoChange}, remora},
	}
}

// Open says whether r is a reason of the last gate, which holds nothing back:
// the wanted revision is live.
func (r Reason) Open() bool { return r == Succeeded || r == NoChange }

// Chain returns the chain of gates up to the one that held: all rows before it
// passed, and held itself, which takes its name, its owner and its next step
// from the tables where it leaves them empty. With a reason that holds nothing
// back, all rows are passed. Live is whether that is so.
func Chain(held Gate) (gates []Gate, live bool) {
	for _, row := range Gates() {
		if !slices.Contains(row.Holds, held.Reason) {
			gates = append(gates, Gate{Name: row.Name, OK: true, Message: row.Passed})
			continue
		}
		held.Name, held.OK = row.Name, held.Reason.Open()
		if held.OK {
			if held.Message == "" {
				held.Message = row.Passed
			}
			return append(gates, held), true
		}
		return append(gates, fill(held, row.Who)), false
	}
	return gates, false
}

func fill(held Gate, who string) Gate {
	entry, _ := Explain(held.Reason)
	if held.Message == "" {
		held.Message = entry.Meaning
	}
	if held.Who == "" {
		held.Who = who
	}
	if held.Next == "" {
		held.Next = entry.Remedy
	}
	return held
}
