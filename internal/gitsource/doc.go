// Package gitsource follows a source of manifests: a git repository over
// https, ssh, git or file, or a local folder. It turns what it finds into
// immutable folders on disk, one per commit, and remembers the last good one,
// so that a host goes on from it when the server is gone.
//
// There is no long-lived clone and no work tree. A fetch asks the server for
// its refs; when the followed one has changed, it takes a shallow pack into a
// temporary folder, writes the commit's files through its own path-checked
// writer, and renames the result into place. Whatever is damaged is thrown
// away and fetched again.
//
// It must not interpret manifests, must never trust an SSH host key that is
// not pinned, must never put a credential into an error or a log, and is the
// only package that imports go-git.
//
// [Source] and [Folder] may be used concurrently. One operation runs at a time
// per source, in this process (a semaphore) and among processes (a lock on a
// file in the state folder). Every channel from Changes has one goroutine,
// which ends with its context or with Close; Close waits for it.
package gitsource
