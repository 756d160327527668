package traffic

import "strings"

// CertificateSource is where a certificate comes from, which its name says: so
// that the table alone tells the agent what to keep.
type CertificateSource struct {
	// Auto is the host name that a certificate is had for automatically.
	Auto string
	// Cert and Key are files of the host; ClientCA is one of authorities.
	Cert, Key, ClientCA string
}

const (
	autoPrefix    = "auto:"
	filesPrefix   = "files:"
	clientsPrefix = "clients:"
)

// Name is the [Certificate.Name] of what comes from here.
func (s CertificateSource) Name() string {
	switch {
	case s.Auto != "":
		return autoPrefix + s.Auto
	case s.ClientCA != "":
		return clientsPrefix + s.ClientCA
	}
	return filesPrefix + s.Cert + "," + s.Key
}

// ParseCertificateSource reads a name; ok is false for one that is none.
func ParseCertificateSource(name string) (s CertificateSource, ok bool) {
	if host, is := strings.CutPrefix(name, autoPrefix); is {
		return CertificateSource{Auto: host}, host != ""
	}
	if file, is := strings.CutPrefix(name, clientsPrefix); is {
		return CertificateSource{ClientCA: file}, file != ""
	}
	if files, is := strings.CutPrefix(name, filesPrefix); is {
		cert, key, _ := strings.Cut(files, ",")
		return CertificateSource{Cert: cert, Key: key}, cert != "" && key != ""
	}
	return s, false
}
