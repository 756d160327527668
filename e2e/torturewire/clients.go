package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/remorahq/remora/e2e/load"
	"github.com/remorahq/remora/e2e/wire"
)

// slowAnswer is what the slow temper takes for an answer by itself.
const slowAnswer = 5 * time.Second

// groups are the clients of the kinds that are asked for: of all kinds some
// 2,700 requests a second over 120 connections, four in ten not idempotent.
// Sessions end by their clients after a second or two, but for a few that last;
// some clients of GET and POST make a connection for every three requests.
func groups(kinds []wire.Kind, p ports) []load.Group {
	at := func(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
	web, slow := at(p.http), at(p.slow)
	all := []load.Group{
		{Kind: load.Get, Addr: web, Conns: 24, Rate: 1050},
		{Kind: load.Get, Addr: web, Conns: 6, Rate: 200, Session: 3},
		{Kind: load.Get, Addr: slow, Conns: 2, Rate: 1, Own: slowAnswer},
		{Kind: load.Post, Addr: web, Conns: 16, Rate: 750},
		{Kind: load.Post, Addr: web, Conns: 4, Rate: 100, Session: 3},
		{Kind: load.Post, Addr: slow, Conns: 2, Rate: 1, Own: slowAnswer},
		{Kind: load.Put, Addr: web, Conns: 2, Rate: 30},
		{Kind: load.Put, Addr: web, Conns: 2, Rate: 20, Pause: 3 * time.Millisecond},
		{Kind: load.Upload, Addr: web, Conns: 2, Rate: 20, Size: 256 << 10},
		{Kind: load.Upload, Addr: web, Conns: 3, Rate: 15, Size: 256 << 10, Pause: 2 * time.Millisecond},
		{Kind: load.Chunked, Addr: web, Conns: 4, Rate: 30, Pause: 3 * time.Millisecond},
		{Kind: load.Events, Addr: web, Conns: 6, Rate: 10},
		{Kind: load.Poll, Addr: web, Conns: 8, Rate: 12},
		{Kind: load.WebSocket, Addr: web, Conns: 6, Rate: 150, Session: 40},
		{Kind: load.WebSocket, Addr: web, Conns: 2, Rate: 40, Size: 20_000, Session: 30},
		{Kind: load.WebSocket, Addr: web, Conns: 2, Rate: 20},
		{Kind: load.GRPC, Addr: at(p.grpc), Conns: 6, Rate: 180, Session: 60},
		{Kind: load.GRPC, Addr: at(p.grpc), Conns: 4, Rate: 15, Session: 20, Path: "/wire.Echo/Say?delay=150ms", Own: 150 * time.Millisecond},
		{Kind: load.TCP, Addr: at(p.tcp), Conns: 5, Rate: 120, Session: 30},
		{Kind: load.TCP, Addr: at(p.tcp), Conns: 1, Rate: 10},
		{Kind: load.Greeted, Addr: at(p.greet), Conns: 4, Rate: 80, Session: 30},
	}
	wanted := func(g load.Group) bool {
		return slices.ContainsFunc(kinds, func(k wire.Kind) bool { return slices.Contains(k.Of(), g.Kind) })
	}
	var out []load.Group
	for _, g := range all {
		if g.MayClose = true; wanted(g) {
			out = append(out, g)
		}
	}
	return out
}
