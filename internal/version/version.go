// Package version says which build of remora this is. It must not depend on
// anything of remora. It holds no state but what the linker wrote, and is safe
// for concurrent use.
package version

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// Written by the linker (-X); see the Makefile. Never assigned elsewhere.
var version, commit, date string

// Info identifies a build.
type Info struct {
	Version string `json:"version"` // tag, or tag and distance, such as v1.3.0-4-g67e2c98; devel when unknown
	Commit  string `json:"commit"`  // full git commit; unknown when not recorded
	Date    string `json:"date"`    // time of the commit, RFC 3339; unknown when not recorded
	Go      string `json:"go"`      // toolchain, such as go1.26.8
}

// Get is the build's identity: what the linker wrote, else what the go command
// recorded about the main module.
func Get() Info {
	recorded, _ := debug.ReadBuildInfo()
	return identify(Info{Version: version, Commit: commit, Date: date}, recorded)
}

func identify(linked Info, recorded *debug.BuildInfo) Info {
	found := Info{Version: "devel", Commit: "unknown", Date: "unknown"}
	if recorded != nil {
		if v := recorded.Main.Version; v != "" && v != "(devel)" {
			found.Version = v
		}
		for _, s := range recorded.Settings {
			switch s.Key {
			case "vcs.revision":
				found.Commit = s.Value
			case "vcs.time":
				found.Date = s.Value
			}
		}
	}
	return Info{
		Version: cmp.Or(linked.Version, found.Version),
		Commit:  cmp.Or(linked.Commit, found.Commit),
		Date:    cmp.Or(linked.Date, found.Date),
		Go:      runtime.Version(),
	}
}

// String is one line for people: v1.3.0 (67e2c98a, 2026-03-01T10:00:00Z, go1.26.8).
func (i Info) String() string {
	return fmt.Sprintf("%s (%.8s, %s, %s)", i.Version, i.Commit, i.Date, i.Go)
}
