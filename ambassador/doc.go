// Package ambassador is the data plane's worker: it serves one immutable
// table, claims releases for requests and tunnels, checks endpoints, holds,
// drains, and reports. It must not know git, Docker, Consul or Compose, and
// depends on nothing but its last table on disk; listeners come from the
// holder (package holder), tables from the agent (package control).
//
// Concurrency: the table in force is a view behind one atomic pointer and is
// never changed. A request takes no lock on its way: it counts itself in at a
// release, then looks whether the release is closed, and if so counts itself
// out and reads the table again (P1). A table is put in this order: reopen
// what gets requests again, swap, close what gets none any more; so a claim
// either is seen by the drain or backs off before it sends a byte. Tables are
// put one at a time. Each connection is one goroutine; uploads and tunnels
// have a second one. Worker.Run returns when all have ended.
package ambassador
