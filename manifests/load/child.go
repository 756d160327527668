package load

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
)

// Limits that the loader's process sets on itself. RLIMIT_AS would kill any Go
// process at its start; RLIMIT_DATA does not.
const (
	limitData  = 512 << 20
	limitCPU   = 5 // seconds
	limitFiles = 256
	softMemory = 400 << 20
)

// maxRequest bounds the request on standard input.
const maxRequest = 16 << 20

// Main is the loader's process: it limits itself before it reads a byte,
// answers the one request on in with a result on out, and returns its exit
// code. What it cannot read is reported on errs.
func Main(ctx context.Context, in io.Reader, out, errs io.Writer) int {
	if err := Limit(); err != nil {
		fmt.Fprintln(errs, err)
		return 1
	}
	// Nothing of this process's environment may reach a manifest.
	os.Clearenv()
	var req manifests.LoadRequest
	dec := json.NewDecoder(io.LimitReader(in, maxRequest))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		fmt.Fprintf(errs, "read load request: %v\n", err)
		return 2
	}
	w := bufio.NewWriter(out)
	if err := json.NewEncoder(w).Encode(Load(ctx, req)); err != nil {
		fmt.Fprintf(errs, "write load result: %v\n", err)
		return 1
	}
	if err := w.Flush(); err != nil {
		fmt.Fprintf(errs, "write load result: %v\n", err)
		return 1
	}
	return 0
}

// Limit sets the limits of the loader on this process: memory, CPU time, core
// files, open files. A limit that is lower already stays.
func Limit() error {
	debug.SetMemoryLimit(softMemory)
	for _, l := range []struct {
		name     string
		resource int
		value    uint64
	}{
		{"data", unix.RLIMIT_DATA, limitData},
		{"CPU time", unix.RLIMIT_CPU, limitCPU},
		{"core files", unix.RLIMIT_CORE, 0},
		{"open files", unix.RLIMIT_NOFILE, limitFiles},
	} {
		r := unix.Rlimit{Cur: l.value, Max: l.value}
		var now unix.Rlimit
		if err := unix.Getrlimit(l.resource, &now); err == nil && now.Max < r.Max {
			r.Max, r.Cur = now.Max, now.Max
		}
		if err := unix.Setrlimit(l.resource, &r); err != nil {
			return fmt.Errorf("limit %s of the loader: %w", l.name, err)
		}
	}
	return nil
}

// guard turns a panic of a library into an error of the app.
func (a *app) guard(ok *bool) {
	v := recover()
	if v == nil {
		return
	}
	*ok = false
	a.add(manifests.Diagnostic{
		Position: manifests.Position{File: a.main}, Reason: status.LoadFailed,
		Message: fmt.Sprintf("%s made the loader panic: %v", a.main, v),
		Remedy:  "simplify the file; the rest of the environment is not affected",
	})
}
