package manifests

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Release names an immutable version of a service: "v1:" and the hash of what
// its containers are made from. Equal inputs give an equal release on every
// host and after every revert.
type Release string

// releaseV1 is the version of the hash. Another version gets another function
// beside [App.Release]; this one stays for containers that carry its label.
const releaseV1 = "v1"

// Short returns the first eight hex digits, as names of containers carry them.
func (r Release) Short() string {
	_, sum, _ := strings.Cut(string(r), ":")
	if len(sum) > 8 {
		return sum[:8]
	}
	return sum
}

// Version returns the version of the hash, such as "v1".
func (r Release) Version() string {
	version, _, _ := strings.Cut(string(r), ":")
	return version
}

// ImageIdentity is what makes an image the same image.
type ImageIdentity struct {
	// Digest is the registry's manifest digest, of the index for a
	// multi-platform image; or the engine's image ID where Local.
	Digest string `json:"digest"`
	// Local says that no registry knows the image: the release then holds on
	// this host only.
	Local bool `json:"local,omitempty"`
}

// releaseInput is what is hashed. Scale, dependencies, order, checks of the
// ambassador, routes, update and standby settings are how a release is rolled
// out, not what it is, and stay out; so does everything of the host.
type releaseInput struct {
	Members []memberInput `json:"members"`
}

type memberInput struct {
	Service   string        `json:"service"`
	Container Container     `json:"container"`
	Files     []File        `json:"files,omitempty"`
	Image     ImageIdentity `json:"image"`
	Networks  []Network     `json:"networks,omitempty"`
	Volumes   []Volume      `json:"volumes,omitempty"`
}

// Release returns the release of the unit that service belongs to. images
// holds the identity of each member's image by service name. It fails when a
// member or its image is unknown.
func (a *App) Release(service string, images map[string]ImageIdentity) (Release, error) {
	members := a.Unit(service)
	if len(members) == 0 {
		return "", fmt.Errorf("hash release of %s: no such service", service)
	}
	in := releaseInput{}
	for _, s := range members {
		image, ok := images[s.Name]
		if !ok || image.Digest == "" {
			return "", fmt.Errorf("hash release of %s: image of %s is not resolved", service, s.Name)
		}
		in.Members = append(in.Members, a.member(s, image))
	}
	// Struct fields marshal in declared order and maps by sorted key, so the
	// form is canonical.
	data, err := json.Marshal(in)
	if err != nil {
		return "", fmt.Errorf("hash release of %s: %w", service, err)
	}
	sum := sha256.Sum256(data)
	return Release(releaseV1 + ":" + hex.EncodeToString(sum[:])), nil
}

// Unit returns the services that share a release with service, by name; only
// itself where nothing joins its namespaces.
func (a *App) Unit(service string) []*Service {
	s := a.Service(service)
	if s == nil {
		return nil
	}
	var members []*Service
	for i := range a.Services {
		if a.Services[i].Unit == s.Unit {
			members = append(members, &a.Services[i])
		}
	}
	slices.SortFunc(members, func(x, y *Service) int { return strings.Compare(x.Name, y.Name) })
	return members
}

func (a *App) member(s *Service, image ImageIdentity) memberInput {
	m := memberInput{Service: s.Name, Container: s.Container, Image: image, Files: slices.Clone(s.Files)}
	slices.SortFunc(m.Files, func(x, y File) int { return strings.Compare(x.Path, y.Path) })
	m.Networks = a.usedNetworks(s)
	m.Volumes = a.usedVolumes(s)
	return m
}

// usedNetworks returns the definitions that the service's networks have,
// without the names that only follow from the project: those differ between a
// host's first and its other environments.
func (a *App) usedNetworks(s *Service) []Network {
	var used []Network
	for _, at := range s.Container.Networks {
		for _, n := range a.Networks {
			if n.Key != at.Network {
				continue
			}
			if n.Name == a.Project+"_"+n.Key {
				n.Name = ""
			}
			n.Labels = nil
			used = append(used, n)
		}
	}
	slices.SortFunc(used, func(x, y Network) int { return strings.Compare(x.Key, y.Key) })
	return used
}

func (a *App) usedVolumes(s *Service) []Volume {
	keys := map[string]bool{}
	for _, m := range s.Container.Mounts {
		if m.Kind == MountVolume {
			keys[m.Source] = true
		}
	}
	var used []Volume
	for _, v := range a.Volumes {
		if !keys[v.Key] {
			continue
		}
		if v.Name == a.Project+"_"+v.Key {
			v.Name = ""
		}
		v.Labels = nil
		used = append(used, v)
	}
	slices.SortFunc(used, func(x, y Volume) int { return strings.Compare(x.Key, y.Key) })
	return used
}

// Hostrev returns the second hash of the unit that service belongs to, over
// the inputs that lie on the host; empty where there are none. key is the
// host's own, so that a weak secret cannot be guessed from a label.
func (a *App) Hostrev(service string, key []byte) string {
	mac := hmac.New(sha256.New, key)
	any := false
	for _, s := range a.Unit(service) {
		for _, path := range slices.Sorted(maps.Keys(s.HostInputs)) {
			any = true
			fmt.Fprintf(mac, "%q %q %q\n", s.Name, path, s.HostInputs[path])
		}
	}
	if !any {
		return ""
	}
	return hex.EncodeToString(mac.Sum(nil))[:32]
}
