package status

// Reason is the named cause of a condition, an event or a state. The set is
// closed: [Reasons] lists every one with its meaning and its remedy, and
// `remora explain` has a row for each.
type Reason string

// The reasons that remora gives.
const (
	Succeeded             Reason = "Succeeded"
	Progressing           Reason = "Progressing"
	NoChange              Reason = "NoChange"
	Returning             Reason = "Returning"
	DependencyNotReady    Reason = "DependencyNotReady"
	WaitingForFleetSlot   Reason = "WaitingForFleetSlot"
	WaitingForJob         Reason = "WaitingForJob"
	WaitingForWindow      Reason = "WaitingForWindow"
	WaitingForMemory      Reason = "WaitingForMemory"
	Frozen                Reason = "Frozen"
	NotSelected           Reason = "NotSelected"
	NotPlaced             Reason = "NotPlaced"
	GitOperationFailed    Reason = "GitOperationFailed"
	AuthenticationFailed  Reason = "AuthenticationFailed"
	VerificationFailed    Reason = "VerificationFailed"
	LoadFailed            Reason = "LoadFailed"
	PolicyDenied          Reason = "PolicyDenied"
	ImagePullFailed       Reason = "ImagePullFailed"
	RegistryUnavailable   Reason = "RegistryUnavailable"
	DiskLow               Reason = "DiskLow"
	VolumeInUse           Reason = "VolumeInUse"
	VolumeMissing         Reason = "VolumeMissing"
	PortConflict          Reason = "PortConflict"
	RouteConflict         Reason = "RouteConflict"
	NameConflict          Reason = "NameConflict"
	CertificateFailed     Reason = "CertificateFailed"
	Foreign               Reason = "Foreign"
	HealthCheckFailed     Reason = "HealthCheckFailed"
	JobFailed             Reason = "JobFailed"
	PruneHeld             Reason = "PruneHeld"
	RolledBack            Reason = "RolledBack"
	Quarantined           Reason = "Quarantined"
	Superseded            Reason = "Superseded"
	Interrupted           Reason = "Interrupted"
	StoppedByHand         Reason = "StoppedByHand"
	Maintenance           Reason = "Maintenance"
	Pinned                Reason = "Pinned"
	Suspended             Reason = "Suspended"
	CrashLoop             Reason = "CrashLoop"
	StatefulNotRolledBack Reason = "StatefulNotRolledBack"
	EngineUnavailable     Reason = "EngineUnavailable"
	ConsulUnavailable     Reason = "ConsulUnavailable"
	FleetHalted           Reason = "FleetHalted"
	HistoryRewritten      Reason = "HistoryRewritten"
	TagMoved              Reason = "TagMoved"
	DecryptFailed         Reason = "DecryptFailed"
	NotInThisVersion      Reason = "NotInThisVersion"
)

// Entry explains one reason: what it means, what a person does about it, and
// whether it needs one.
type Entry struct {
	Reason  Reason `json:"reason"`
	Meaning string `json:"meaning"`
	Remedy  string `json:"remedy"`
	// NeedsPerson is true where nothing changes until a person acts.
	NeedsPerson bool `json:"needsPerson"`
}

// Reasons returns the table of all reasons, in the order in which they are
// declared.
func Reasons() []Entry {
	return []Entry{
		{Succeeded, "the wanted revision runs and is healthy", "nothing to do", false},
		{Progressing, "a rollout is under way", "wait; `remora status -w` follows it", false},
		{NoChange, "the commit touched nothing that this app uses", "nothing to do", false},
		{Returning, "traffic goes back to a release that was promoted here before", "wait; it takes no gate but health", false},
		{DependencyNotReady, "a service or an app that this one depends on is not healthy yet", "look at the dependency: `remora explain` names it", false},
		{WaitingForFleetSlot, "other hosts of the fleet go first", "wait, or look at `remora rollout`", false},
		{WaitingForJob, "a one-shot service must end well before this goes on", "see its output with `remora logs`", false},
		{WaitingForWindow, "no deployment window is open", "wait for the window, or `remora deploy APP --override window`", false},
		{WaitingForMemory, "the host has too little free memory to start the new release beside the old one", "free memory, or lower the reserve in the host file", true},
		{Frozen, "a freeze holds all changes but returns", "wait for its end, or `remora unfreeze`", false},
		{NotSelected, "the environment's hosts list does not name this host", "add the host to `hosts` in environment.yaml", false},
		{NotPlaced, "no placement puts this app on this host", "write `x-remora: {hosts: …}`, a placement constraint, `apps:` or `default_placement: all`", false},
		{GitOperationFailed, "the repository could not be read; the last good revision stays in force", "see the message; remora tries again by itself", false},
		{AuthenticationFailed, "the git server or registry refused the credentials or showed another host key", "mend the credential or the pinned key that the message names", true},
		{VerificationFailed, "the revision is not signed as the host demands", "have an allowed signer sign it", true},
		{LoadFailed, "the manifests of this app have errors", "mend the lines that the message names; `remora validate` shows all", true},
		{PolicyDenied, "the host's policy forbids what the manifest asks for", "change the manifest, or the setting in the host file that the message names", true},
		{ImagePullFailed, "the registry does not have this image, or refuses it", "check the tag; push the image; then `remora retry`", true},
		{RegistryUnavailable, "the registry does not answer", "remora tries again by itself; check the registry", false},
		{DiskLow, "too little disk space is free to go on safely", "free disk space", true},
		{VolumeInUse, "a container outside this service writes the volume that it would mount", "stop the container that the message names", true},
		{VolumeMissing, "starting would create an empty volume where data is expected elsewhere", "set `name:` or make the volume external as the message says, or `remora retry APP --create-volumes`", true},
		{PortConflict, "another app or program holds the port", "free the port or choose another", true},
		{RouteConflict, "another app holds this host name and path", "change one of the two routes", true},
		{NameConflict, "another app on this host has the same project name", "set a different `name:`", true},
		{CertificateFailed, "a certificate cannot be had, renewed or used", "do what the message says; automatic ones are tried again by themselves", true},
		{Foreign, "containers of this project run that remora did not create", "remove them (`docker compose down`; volumes stay without -v)", true},
		{HealthCheckFailed, "the new release did not become or stay healthy", "see `remora logs APP/SERVICE --failed`; mend and commit, or revert", true},
		{JobFailed, "a one-shot service ended with an error", "see `remora logs APP/SERVICE --failed`", true},
		{PruneHeld, "the commit would remove a large part of what runs", "`removed: [...]` in environment.yaml, or `remora prune --confirm REV`", true},
		{RolledBack, "the new release failed and traffic is on the former one", "mend and commit, or revert", true},
		{Quarantined, "the revision holds a release that failed here or was rolled back by hand", "commit another release, or `remora retry`", true},
		{Superseded, "a newer commit took the place of this one", "nothing to do", false},
		{Interrupted, "a rollout was cut off (restart of the host or the engine) and begins again", "nothing to do", false},
		{StoppedByHand, "a person stopped this", "`remora start`, or wait until it is repaired", true},
		{Maintenance, "a person put up a page for visitors; everything runs on behind it", "`remora maintenance APP/SERVICE off`", true},
		{Pinned, "a person's rollback holds this release", "merge the revert, or `remora unpin`", true},
		{Suspended, "reconciling is suspended by a person", "`remora resume`", true},
		{CrashLoop, "the container keeps exiting; it is restarted with growing pauses", "see `remora logs`", true},
		{StatefulNotRolledBack, "a service with data stays on its new release while the rest went back", "decide: commit a mended release, or revert", true},
		{EngineUnavailable, "the container engine does not answer", "start the engine; traffic is not touched", true},
		{ConsulUnavailable, "Consul does not answer; what runs goes on", "start Consul", false},
		{FleetHalted, "the rollout is halted on all hosts", "see `remora rollout`; merge a mend or the revert", true},
		{HistoryRewritten, "the branch was rewritten (force-push)", "check that this was meant", false},
		{TagMoved, "a tag that was seen before points elsewhere now", "check that this was meant", true},
		{DecryptFailed, "a secret could not be decrypted on this host", "add the host's key as a recipient", true},
		{NotInThisVersion, "the manifest uses a key that this version does not carry out", "remove the key, or upgrade remora", true},
	}
}

// Explain returns the entry of r; ok is false for a reason that is not in the
// table.
func Explain(r Reason) (e Entry, ok bool) {
	for _, e := range Reasons() {
		if e.Reason == r {
			return e, true
		}
	}
	return Entry{}, false
}
