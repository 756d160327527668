package load

import (
	"fmt"
	"strings"
	"time"

	"github.com/remorahq/remora/manifests"
)

// rollout decides order and standby of every service.
func (c *converter) rollout() {
	for i := range c.out.Services {
		s := &c.out.Services[i]
		s.Order, s.OrderWhy = c.order(s)
		s.OrderSet = c.orderWritten(s) != ""
		if why := c.inherits(s); why != "" {
			s.WritesData = true
		}
	}
	c.unitOrder()
	c.canaries()
	for i := range c.out.Services {
		s := &c.out.Services[i]
		s.Standby = c.standbyOf(s)
	}
}

// orderWritten is the order that the file itself gives a service; empty for
// none.
func (c *converter) orderWritten(s *manifests.Service) string {
	if d := c.specs[s.Name].Deploy; d != nil && d.UpdateConfig != nil {
		return d.UpdateConfig.Order
	}
	return ""
}

// order returns the order of a service by itself, with the sentence that plan
// prints.
func (c *converter) order(s *manifests.Service) (manifests.Order, string) {
	at := "services." + s.Name + ".deploy.update_config.order"
	written := c.orderWritten(s)
	alone := c.alone(s)
	switch written {
	case "":
	case string(manifests.StopFirst):
		return manifests.StopFirst, "stop-first because the file says so"
	case string(manifests.StartFirst):
		if why := c.cannotOverlap(s); why != "" {
			c.fail(at, "remove the order", "two containers cannot run at once: the service %s", why)
		}
		return manifests.StartFirst, "start-first because the file says so"
	default:
		c.fail(at, "start-first or stop-first", "%q is not known", written)
	}
	if alone != "" {
		return manifests.StopFirst, fmt.Sprintf("stop-first because it %s", alone)
	}
	return manifests.StartFirst, "start-first because it has an endpoint and keeps nothing to itself"
}

// alone says what keeps a service from bearing two containers at once; empty
// where nothing does.
func (c *converter) alone(s *manifests.Service) string {
	if why := c.cannotOverlap(s); why != "" {
		return why
	}
	for _, m := range s.Container.Mounts {
		if !writable(m) {
			continue
		}
		switch m.Kind {
		case manifests.MountAnonymous:
			return fmt.Sprintf("keeps the anonymous volume %s; `order: start-first` if two may share it", m.Target)
		default:
			return fmt.Sprintf("mounts %s read-write; `deploy.update_config.order: start-first` if two copies may share it", m.Source)
		}
	}
	if why := c.inherits(s); why != "" {
		return why
	}
	switch {
	case s.Container.NetworkMode == "host":
		return "uses the host's network, where its own ports collide"
	case len(s.Container.Devices)+len(s.Container.DeviceRequests)+len(s.Container.DeviceCgroupRules) > 0:
		return "uses a device, which nothing locks"
	case s.Kind == manifests.KindWorker:
		return "has no endpoint: background code of two releases must not run at once"
	case s.Kind == manifests.KindOneShot:
		return "runs once and ends"
	}
	return ""
}

// cannotOverlap says what the engine itself refuses.
func (c *converter) cannotOverlap(s *manifests.Service) string {
	if addr, ok := fixedAddress(s); ok {
		return "fixes the address " + addr
	}
	for _, p := range s.Container.Published {
		if p.Published == 0 {
			continue
		}
		return fmt.Sprintf("publishes %d/%s through the engine", p.Published, p.Protocol)
	}
	return ""
}

// inherits says whether volumes_from brings something writable.
func (c *converter) inherits(s *manifests.Service) string {
	for _, from := range s.Container.VolumesFrom {
		if !strings.HasSuffix(from, ":ro") {
			return fmt.Sprintf("writes the volumes of %s", strings.TrimSuffix(from, ":rw"))
		}
	}
	return ""
}

// unitOrder gives every member of a unit the strictest order of all.
func (c *converter) unitOrder() {
	for i := range c.out.Services {
		s := &c.out.Services[i]
		if s.Order == manifests.StopFirst {
			continue
		}
		for _, m := range c.out.Unit(s.Name) {
			if m.Order == manifests.StopFirst {
				s.Order = manifests.StopFirst
				s.OrderWhy = fmt.Sprintf("stop-first because it shares namespaces with %s, which is", m.Name)
				break
			}
		}
	}
}

// standbyOf returns what becomes of the replaced release.
func (c *converter) standbyOf(s *manifests.Service) manifests.Standby {
	if s.Kind == manifests.KindOneShot {
		return manifests.Standby{State: manifests.StandbyStopped}
	}
	ext := c.ext[s.Name]
	out := manifests.Standby{For: manifests.DefaultStandby, State: manifests.StandbyPaused}
	if host := c.req.Standby; host != nil {
		out.For = time.Duration(host.For)
		if host.State != "" {
			out.State = host.State
		}
	}
	if len(s.Assets) > 0 {
		out.State = manifests.StandbyRunning // what is frozen lends nothing
	}
	assign(&out.For, ext.standbyFor)
	if ext.standbyState != "" {
		out.State = ext.standbyState
	}
	cold := s.Kind == manifests.KindWorker || s.Order == manifests.StopFirst ||
		otherTools(s.Container.Labels) != ""
	if !cold {
		return out
	}
	if ext.standbyState != "" && ext.standbyState != manifests.StandbyStopped {
		c.fail("services."+s.Name+".x-remora.standby", "write `state: stopped`, or say nothing",
			"the standby of a %s service is stopped: two releases of it must not run at once", s.Order)
	}
	if len(s.Assets) > 0 {
		c.warn("services."+s.Name+".x-remora.assets", "remove them, or let two containers run at once",
			"no other release of %s ever runs that could be asked: it is %s", s.Name, s.OrderWhy)
	}
	out.State = manifests.StandbyStopped
	return out
}

// splitLink parses "service" or "service:alias".
func splitLink(link string) (service, alias string) {
	service, alias, ok := strings.Cut(link, ":")
	if !ok {
		alias = service
	}
	return service, alias
}
