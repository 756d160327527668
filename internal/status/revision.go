package status

import "time"

// Revision is one state of a source: a commit, or the content of a folder.
type Revision struct {
	Source string `json:"source"`
	// Ref is what was followed, such as main; SHA the commit, or the content
	// hash of a folder.
	Ref string `json:"ref"`
	SHA string `json:"sha"`
	// Folder holds the revision's files.
	Folder    string    `json:"folder"`
	Author    string    `json:"author,omitempty"`
	Committer string    `json:"committer,omitempty"`
	Subject   string    `json:"subject,omitempty"`
	Time      time.Time `json:"time,omitzero"`
	FetchedAt time.Time `json:"fetchedAt,omitzero"`
	// Local says that it is a local folder.
	Local bool `json:"local,omitempty"`
	// Rewritten says that the former revision is not an ancestor.
	Rewritten bool `json:"rewritten,omitempty"`
	TagMoved  bool `json:"tagMoved,omitempty"`
	// Reports are remarks of the source: submodules, links that leave the tree.
	Reports []string `json:"reports,omitempty"`
}

// String returns main@sha1:67e2c98a.
func (r Revision) String() string {
	if r.SHA == "" {
		return ""
	}
	short := r.SHA
	if len(short) > 8 {
		short = short[:8]
	}
	if r.Local {
		return "folder@" + short
	}
	return r.Ref + "@sha1:" + short
}
