package version

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestIdentify(t *testing.T) {
	recorded := &debug.BuildInfo{
		Main:     debug.Module{Version: "v1.2.3"},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "aaaa"}, {Key: "vcs.time", Value: "2026-01-02T03:04:05Z"}},
	}
	tests := map[string]struct {
		linked   Info
		recorded *debug.BuildInfo
		want     Info
	}{
		"nothing known":  {want: Info{Version: "devel", Commit: "unknown", Date: "unknown"}},
		"development":    {recorded: &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, want: Info{Version: "devel", Commit: "unknown", Date: "unknown"}},
		"recorded by go": {recorded: recorded, want: Info{Version: "v1.2.3", Commit: "aaaa", Date: "2026-01-02T03:04:05Z"}},
		"linker wins": {
			linked: Info{Version: "v9", Commit: "bbbb", Date: "now"}, recorded: recorded,
			want: Info{Version: "v9", Commit: "bbbb", Date: "now"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.want.Go = runtime.Version()
			if got := identify(test.linked, test.recorded); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestString(t *testing.T) {
	i := Info{Version: "v1.3.0", Commit: "67e2c98a00112233", Date: "2026-03-01T10:00:00Z", Go: "go1.26.8"}
	if got, want := i.String(), "v1.3.0 (67e2c98a, 2026-03-01T10:00:00Z, go1.26.8)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
