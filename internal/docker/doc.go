// Package docker is the adapter to the Docker Engine, from 20.10 (API 1.41) on.
// It is the only package that imports the Docker client; everything goes in
// and out in the words of package engine.
//
// It must not decide what should run: it does what it is told, idempotently,
// and reports what it sees. It never removes a volume; there is no call for
// it here. Before a container is created, the host's policy is asked about
// the final payload, and a field of the payload that this package is not known
// to set is refused.
//
// The methods of [Engine] may be called from several goroutines. Values that
// it returns share maps and slices with its cache: they are read-only. The
// goroutines of [Engine.Events] and [Engine.Lock] end with their context or
// release, and [Engine.Close] ends and waits for all of them.
package docker
