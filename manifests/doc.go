// Package manifests is the vocabulary of desired state: apps, services,
// containers, routes and checks as a commit describes them, the host file and
// the environment file, the policy of a host, and the digest that makes a
// release.
//
// It is pure: no network, no engine, no goroutine, no clock, no logger. It
// does not parse Compose files; the package load below it does, in a process
// of its own. Values are plain data, not to be changed after loading, and may
// be read from any goroutine.
package manifests
