package traffic

import "time"

// CertificatesVersion is the version of the JSON form of [Certificates].
const CertificatesVersion = 1

// Certificates are all that the ambassador has. They are replaced as a whole,
// and none of them is in a table, a report or a log.
type Certificates struct {
	Version int           `json:"version"`
	List    []Certificate `json:"list"`
}

// CertificateReport is what may be told of a certificate: all but its key.
type CertificateReport struct {
	Name string `json:"name"`
	// Subjects are the host names and addresses that it is for, or the names of
	// the authorities.
	Subjects []string `json:"subjects,omitempty"`
	Issuer   string   `json:"issuer,omitempty"`
	// NotBefore and NotAfter bound its time; of authorities, the first to end.
	NotBefore time.Time `json:"notBefore,omitzero"`
	NotAfter  time.Time `json:"notAfter,omitzero"`
	// Authorities says that clients' certificates must come from it.
	Authorities bool `json:"authorities,omitempty"`
	// Error says why it cannot be used.
	Error string `json:"error,omitempty"`
}

// NameFailure is a server name of a listener whose clients are refused in the
// handshake, and why. No other name is affected.
type NameFailure struct {
	ListenerKey
	Name string `json:"name,omitempty"`
	// Certificate is the [Certificate.Name] that is missing or of no use.
	Certificate string `json:"certificate"`
	Error       string `json:"error"`
}
