// Package load reads the manifests of an environment: it finds the apps,
// judges their placement, interpolates and merges their Compose files and
// turns them into [manifests.App] values.
//
// It is the only package that imports the Compose library, and it is imported
// only by the command that runs in a process of its own, because a manifest is
// input from outside: a few bytes may make the library panic or run for ever.
// [Main] is that process: it limits itself, answers one request and ends.
//
// A file is first read by this package alone ([scan]): places of keys, unset
// variables and every path that it names. Only what passes is handed to the
// library. Nothing outside the request's root is read but what the host's
// policy names. Load keeps no state and may be called from any goroutine.
package load
