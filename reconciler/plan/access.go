package plan

import (
	"cmp"
	"time"

	"github.com/remorahq/remora/internal/traffic"
	"github.com/remorahq/remora/manifests"
)

// grant puts who may use a route, and how much, into the table's form.
func grant(route *traffic.Route, a manifests.Access) {
	route.Allow, route.MaxConns = a.Allow, a.MaxConns
	route.Rate = traffic.Rate{PerSecond: a.Rate.PerSecond, Burst: a.Rate.Burst}
	route.Replay, route.Retry5xx, route.ServerTiming = a.Replay, a.Retry5xx, a.ServerTiming
}

// AccessLog is the host file's in the table's form.
func AccessLog(l manifests.HostAccessLog) traffic.AccessLog {
	format := cmp.Or(l.Format, "json")
	if format == "off" {
		format = ""
	}
	return traffic.AccessLog{Format: format, MaxSize: int64(l.MaxSize), Keep: l.Keep}
}

// Limits are the host file's in the table's form.
func Limits(l manifests.HostLimits) traffic.Limits {
	return traffic.Limits{
		Header: time.Duration(l.Header), BodyRate: l.BodyRate, Idle: time.Duration(l.Idle), PerClient: l.PerClient,
	}
}
