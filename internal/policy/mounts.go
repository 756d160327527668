package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/remorahq/remora/manifests"
)

// sockets are the control sockets of container engines: who has one is root on
// the host.
func sockets() []string {
	return []string{
		"/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock",
		"/var/run/containerd/containerd.sock", "/run/podman/podman.sock",
	}
}

func mounts(j *judge, c *manifests.Container) {
	for i, m := range c.Mounts {
		field := fmt.Sprintf("volumes[%d]", i)
		switch m.Kind {
		case manifests.MountHost:
			j.bind(field, m.Source)
		case manifests.MountImage:
			j.image(m.Source)
		case manifests.MountRepo, manifests.MountData, manifests.MountVolume, manifests.MountAnonymous,
			manifests.MountTmpfs, manifests.MountInline:
		default:
			j.deny(field, string(m.Kind), "", "mounts of kind %q have no rule", m.Kind)
		}
	}
}

// bind judges a folder or file of the host.
func (j *judge) bind(field, source string) {
	source = path.Clean(source)
	if !j.list(j.Binds, source, below) {
		j.deny(field, source, fmt.Sprintf("binds: [%q]", source), "the host's %s is not allowed", source)
		return
	}
	holds := func(socket string) bool {
		return source == "/" || source == socket || strings.HasPrefix(socket, source+"/")
	}
	if i := slices.IndexFunc(sockets(), holds); i >= 0 && !j.flag(j.DockerSocket) {
		j.deny(field, source, "docker_socket: true", "%s gives %s to the container", source, sockets()[i])
	}
}
