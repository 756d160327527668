package manifests

// AppProtocol is what the file says that a container's port speaks; empty if it
// says nothing.
func (s *Service) AppProtocol(port uint16) string {
	for _, p := range s.Ports {
		if p.Target == port && p.App != "" {
			return p.App
		}
	}
	for _, r := range s.Routes {
		if r.Target == port && r.App != "" {
			return r.App
		}
	}
	return ""
}
