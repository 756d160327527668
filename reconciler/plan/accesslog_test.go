package plan

import (
	"testing"

	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
)

// TestAccessLog: a host that says nothing has one, and only `off` has none.
func TestAccessLog(t *testing.T) {
	for _, c := range []struct {
		in   manifests.HostAccessLog
		want traffic.AccessLog
	}{
		{manifests.HostAccessLog{}, traffic.AccessLog{Format: "json"}},
		{manifests.HostAccessLog{Format: "off"}, traffic.AccessLog{}},
		{manifests.HostAccessLog{Format: "combined", MaxSize: 1 << 20, Keep: 2}, traffic.AccessLog{Format: "combined", MaxSize: 1 << 20, Keep: 2}},
	} {
		if got := Table(TableInput{AccessLog: AccessLog(c.in)}).AccessLog; got != c.want {
			t.Errorf("%+v: %+v, want %+v", c.in, got, c.want)
		}
	}
}
