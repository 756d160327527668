package manifests

// LoadRequest is what the loader process is asked, as JSON on its standard
// input. It holds everything that the result depends on; the loader's own
// environment does not count.
type LoadRequest struct {
	// Root is the folder of the revision's files, or of a local source; no
	// path of a manifest may leave it.
	Root string `json:"root"`
	// Path is the folder of the environments below Root, Environment the
	// environment's name. With Bare, Root itself is one app (a folder with a
	// compose file) or a folder of apps, and there is no environment.yaml.
	Path        string `json:"path"`
	Environment string `json:"environment"`
	Bare        bool   `json:"bare,omitempty"`
	// Apps limits which apps are loaded; empty is all that are placed here.
	Apps []string `json:"apps,omitempty"`
	// PlacementOnly lists folders and what is not placed here, and loads
	// nothing: Placed then names the apps to load.
	PlacementOnly bool `json:"placementOnly,omitempty"`
	// Patterns limits the apps by name, as in path.Match.
	Patterns []string          `json:"patterns,omitempty"`
	Source   string            `json:"source"`
	Host     string            `json:"host"`
	Labels   map[string]string `json:"labels,omitempty"`
	// Vars are the host's variables; they win over all files.
	Vars map[string]string `json:"vars,omitempty"`
	// Primary says that this is the host's first environment: projects carry
	// the app's own name.
	Primary bool   `json:"primary"`
	Policy  Policy `json:"policy"`
	// Live says that the source is a local folder.
	Live bool `json:"live,omitempty"`
	// Standby is the host's default for services that say nothing.
	Standby *HostStandby `json:"standby,omitempty"`
	CPUs    int          `json:"cpus"`
	// HTTP are the host's entry points for routes by host name.
	HTTP []uint16 `json:"http,omitempty"`
	// HTTPS are those with TLS, and ACMEShared says that automatic certificates
	// lie where all hosts find them.
	HTTPS      []uint16 `json:"https,omitempty"`
	ACMEShared bool     `json:"acmeShared,omitempty"`
}

// LoadResult is the loader's answer, as JSON on its standard output.
type LoadResult struct {
	// Environment is the environment file as loaded.
	Environment Environment `json:"environment"`
	// Apps are those that loaded without an error.
	Apps []App `json:"apps"`
	// Placed are the apps that are placed here, whether loaded or not.
	Placed []string `json:"placed,omitempty"`
	// Skipped are apps that are not placed here, with the reason NotPlaced or
	// NotSelected.
	Skipped []Skipped `json:"skipped,omitempty"`
	// Failed are apps with errors; one broken app never stops another.
	Failed []Failed `json:"failed,omitempty"`
	// Diagnostics are errors of the environment itself; with one of them
	// there are no apps.
	Diagnostics Diagnostics `json:"diagnostics,omitempty"`
	// Folders lists all app folders of the environment, placed here or not, so
	// that a removal can be told from a failure.
	Folders []string `json:"folders"`
	// Inputs are what the environment itself depends on, AppInputs what each
	// app does. An answer may be used again for another root in which they are
	// the same.
	Inputs    []Input            `json:"inputs,omitempty"`
	AppInputs map[string][]Input `json:"appInputs,omitempty"`
}

// Kinds of input.
const (
	// InputFile is a manifest file, links followed, and InputObject what is
	// mounted: a file, or a folder with all that is in it. The ID is git's
	// mode and object id.
	InputFile   = "file"
	InputObject = "object"
	// InputNames is the names in a folder; the ID is a hash of them.
	InputNames = "names"
	// InputAbsent is a file that was looked for and does not exist.
	InputAbsent = "absent"
)

// Input is a file or folder that the loader looked at.
type Input struct {
	// Path is relative to the root, slash-separated; absolute for a file of
	// the host.
	Path string `json:"path"`
	Kind string `json:"kind"`
	ID   string `json:"id,omitempty"`
}

// Skipped is an app that does not run here.
type Skipped struct {
	App        string     `json:"app"`
	Diagnostic Diagnostic `json:"diagnostic"`
}

// Failed is an app that did not load.
type Failed struct {
	App string `json:"app"`
	// Project is known where the error came after it.
	Project     string      `json:"project,omitempty"`
	Diagnostics Diagnostics `json:"diagnostics"`
}

// Environment is environment.yaml: the repository's own policy.
type Environment struct {
	Version int `yaml:"version" json:"version"`
	// Hosts says who may follow the environment: names, or "*". Exactly one
	// name makes it a single-host environment.
	Hosts []string `yaml:"hosts" json:"hosts,omitempty"`
	// DefaultPlacement is "all" or empty.
	DefaultPlacement string `yaml:"default_placement" json:"defaultPlacement,omitempty"`
	// Apps places apps by folder name: "all", host names or an expression.
	Apps    map[string]string `yaml:"apps" json:"apps,omitempty"`
	Removed []string          `yaml:"removed" json:"removed,omitempty"`

	// Known, but not in this version: refused while not empty.
	Rollout map[string]any `yaml:"rollout" json:"-"`
	Windows []any          `yaml:"windows" json:"-"`
	Freezes []any          `yaml:"freezes" json:"-"`
	Notify  any            `yaml:"notify" json:"-"`
}
