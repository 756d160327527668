// Package accesslog writes a line for every request and tunnel into a file,
// and never makes one of them wait for it. [Log.Write] formats the line into
// memory, a shard of a few; one goroutine writes the shards out. Where memory is
// full, because the disk is slow or full, lines are dropped and counted.
//
// Queries are not written, neither of the path nor of the referrer: that is
// where passwords' resets, tokens and searches are. Everything that a client
// chose is escaped down to printable ASCII, so that a line is one line and
// harmless in a terminal.
//
// Several processes may append to the same file, as workers do during an
// upgrade: lines are appended whole, and who finds the file full renames it
// under a lock on it; the others notice before they write again.
//
// It does not know what is logged: no table, no HTTP. A [Log] may be used from
// any goroutine.
package accesslog
