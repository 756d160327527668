package status

import "time"

// Revision is one state of a source: a commit of a repository, or the content
// of a local folder.
type Revision struct {
	// Source is the name of the source in the host file.
	Source string `json:"source"`
	// Ref is the short name of the branch or tag that is followed, such as main
	// or v1.4.2, and "folder" for a local folder.
	Ref string `json:"ref"`
	// SHA is the commit's id, 40 hexadecimal digits; of a local folder a hash of
	// its content.
	SHA string `json:"sha"`
	// Folder holds the revision's files. Of a repository it is read-only and
	// never changes; of a local folder it is the folder itself.
	Folder string `json:"folder"`
	// Live says that Folder is a local folder that people edit.
	Live   bool   `json:"live,omitempty"`
	Commit Commit `json:"commit,omitzero"`
	// Ancestors are commits known to precede it, nearest first, as far as they
	// were fetched.
	Ancestors []string `json:"ancestors,omitempty"`
	// Previous is the SHA that was in force before; empty for the first one.
	Previous string `json:"previous,omitempty"`
	// Rewritten says that Previous is no ancestor of this revision: the branch
	// was force-pushed. HistoryUnknown says that too little history was fetched
	// to tell. Both, and TagMoved, describe the step to this revision and stay
	// set while it is in force: report them when the SHA changes.
	Rewritten      bool `json:"rewritten,omitempty"`
	HistoryUnknown bool `json:"historyUnknown,omitempty"`
	// TagMoved says that the tag pointed elsewhere before.
	TagMoved bool `json:"tagMoved,omitempty"`
	// Reports are findings in the files: submodules, links that leave the tree,
	// files over a limit. They do not stop the source.
	Reports []Report `json:"reports,omitempty"`
	// FetchedAt is when the server last confirmed this revision.
	FetchedAt time.Time `json:"fetchedAt"`
}

// Commit is what a revision says of itself; nothing of it is verified.
type Commit struct {
	Author    string    `json:"author,omitempty"` // Name <mail>
	Committer string    `json:"committer,omitempty"`
	Subject   string    `json:"subject,omitempty"`
	Time      time.Time `json:"time,omitzero"` // of the committer
	Parents   []string  `json:"parents,omitempty"`
}

// Report is a finding in a file of a revision: what is wrong and what to do.
type Report struct {
	// Path is relative to the repository, slash-separated.
	Path    string `json:"path"`
	Reason  Reason `json:"reason"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
}

// IsZero says that there is no revision.
func (r Revision) IsZero() bool { return r.SHA == "" }

// String returns main@sha1:67e2c98a, folder@67e2c98a, or "" for none.
func (r Revision) String() string {
	switch {
	case r.IsZero():
		return ""
	case r.Live:
		return r.Ref + "@" + short(r.SHA)
	}
	return r.Ref + "@sha1:" + short(r.SHA)
}

func short(sha string) string { return sha[:min(len(sha), 8)] }
