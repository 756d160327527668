// Package plan decides, without doing any of it, what a revision changes on
// this host: which services get a new release and why, in which order, what
// may not be done, what is removed, what a container is created from, and the
// table that the ambassador serves.
//
// It is pure: no I/O, clock, goroutine or logger; time and random identity
// come with the input, and equal inputs give equal results. Its functions may
// be used concurrently on different values and change nothing that they are
// given, except the Allocate and Free functions, which record in the host's
// ledger what they give away; the caller holds its lock.
package plan
