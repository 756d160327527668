// Package reconciler is the engine of remora: it follows the sources, loads
// what they want, plans, and carries rollouts out, one goroutine per app.
//
// It declares the ports it consumes (ports.go) and imports no adapter. The
// decisions are made by its pure parts, plan and rollout; what is here
// observes, saves the ledger, acts, and reports. Each app's ledger is owned by
// that app's goroutine; the host's part is behind one mutex that is never held
// over I/O.
package reconciler
