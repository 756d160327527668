package rollout

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// newInstance is a container that is yet to be made.
func (t *turn) newInstance(name string, r *ledger.Release, index int) ledger.Instance {
	free := t.freeName(name, r, index)
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %d", t.app.ID(), free, r.Hostrev, t.now().UnixNano()))
	i := ledger.Instance{Index: index, Name: free, Key: hex.EncodeToString(sum[:])[:16]}
	if s := t.app.Services[name]; s != nil && !r.Service.AnonymousFresh {
		i.Anonymous = s.Anonymous[index]
	}
	return i
}

// freeName is a name by release and index that nothing has.
func (t *turn) freeName(name string, r *ledger.Release, index int) string {
	base := fmt.Sprintf("%s-%s-%s-%d", t.app.Project, name, manifests.Release(r.ID).Short(), index)
	free := base
	for n := 2; t.taken(free); n++ {
		free = fmt.Sprintf("%s.%d", base, n)
	}
	return free
}

// taken says that an instance or a container has a name.
func (t *turn) taken(name string) bool {
	for _, c := range t.obs.Containers {
		if c.Name == name {
			return true
		}
	}
	for _, n := range t.everyName() {
		for _, d := range t.sets(n) {
			if slices.ContainsFunc(d.Instances, func(i ledger.Instance) bool { return i.Name == name }) {
				return true
			}
		}
	}
	return false
}

// names gives the first container that serves the name that people know, and
// takes it from every other first.
func (t *turn) names() {
	for _, name := range t.everyName() {
		serving := Serving(t.app, name)
		if serving == nil {
			continue
		}
		nice := t.niceName(name, serving)
		free := true
		for _, d := range t.sets(name) {
			for k := range d.Instances {
				i := &d.Instances[k]
				if c, ok := t.container(i); ok && c.Name == nice && (d != serving || k != 0) {
					free = false
					t.rename(name, d, i, t.ownName(name, nice, d, i))
				}
			}
		}
		if len(serving.Instances) == 0 || !free {
			continue
		}
		i := &serving.Instances[0]
		if c, ok := t.container(i); ok && c.Name != nice && t.steadyName(name) {
			t.rename(name, serving, i, nice)
		}
	}
}

// steadyName says that the set which serves is there to stay: names change at
// the switch, not while one is being prepared.
func (t *turn) steadyName(name string) bool {
	c := t.change(name)
	return c == nil || c.Action != ledger.Replace || !c.Holding && !c.Disarmed
}

// ownName is what a container is called that does not serve: the name that it
// was made with. A ledger that was made anew knows some by nothing but the
// name that people know; those get one by their release.
func (t *turn) ownName(name, nice string, d *ledger.Deployed, i *ledger.Instance) string {
	if i.Name != nice {
		return i.Name
	}
	return t.freeName(name, &d.Release, i.Index)
}

func (t *turn) rename(name string, d *ledger.Deployed, i *ledger.Instance, to string) {
	if i.Name == to && to == "" {
		return
	}
	a := on(Rename, name, d, i)
	a.Name = to
	t.act(a)
}

// niceName is container_name, or what Compose would call the first container.
func (t *turn) niceName(name string, d *ledger.Deployed) string {
	if n := d.Service.Container.Name; n != "" {
		return n
	}
	return t.app.Project + "-" + name + "-1"
}

// policies gives every container its restart policy: what serves comes back by
// itself after a reboot, nothing else does.
func (t *turn) policies() {
	for _, name := range t.everyName() {
		serving := Serving(t.app, name)
		c := t.change(name)
		for _, d := range t.sets(name) {
			want := "no"
			if d == serving && (c == nil || !c.Disarmed) {
				want = "unless-stopped"
			}
			t.policy(name, d, want)
		}
	}
}

func (t *turn) policy(name string, d *ledger.Deployed, want string) {
	for k := range d.Instances {
		i := &d.Instances[k]
		if c, ok := t.container(i); ok && c.Restart != want {
			a := on(SetRestart, name, d, i)
			a.Policy = want
			t.act(a)
		}
	}
}
