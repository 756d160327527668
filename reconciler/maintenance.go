package reconciler

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/remorahq/remora/internal/status"
	"github.com/remorahq/remora/manifests"
	"github.com/remorahq/remora/reconciler/ledger"
)

// maxNotice bounds what visitors can be told, in bytes.
const maxNotice = 2000

// maintenance puts up a page for the visitors of a service, or of all that an
// app serves, or takes it away. Containers and rollouts go on.
func (w *worker) maintenance(_ context.Context, c status.Command) (status.Answer, error) {
	what := subject(w.id, c.Service)
	names := w.served(c.Service)
	switch {
	case len(c.Notice) > maxNotice:
		return status.Answer{}, &status.Error{Kind: status.Invalid, Message: fmt.Sprintf("the message has %d bytes, %d are taken", len(c.Notice), maxNotice)}
	case len(names) == 0:
		return status.Answer{}, &status.Error{Kind: status.Conflict, Message: what + " takes no requests: there is nobody to show a page to"}
	case c.Off && !slices.ContainsFunc(names, func(n string) bool { return w.app.Services[n].Maintenance != nil }):
		return status.Answer{}, &status.Error{Kind: status.Conflict, Message: what + " is not under maintenance"}
	}
	err := w.change(func(a *ledger.App) {
		for _, n := range names {
			a.Services[n].Maintenance = nil
			if !c.Off {
				a.Services[n].Maintenance = &ledger.Maintenance{Override: *w.override(c), Notice: c.Notice}
			}
		}
	})
	if err != nil {
		return status.Answer{}, err
	}
	if c.Off {
		w.note(c, status.Succeeded, "maintenance is over")
		return status.Answer{RunID: newID(), Message: what + " takes requests again"}, nil
	}
	w.note(c, status.Maintenance, "under maintenance: visitors of "+strings.Join(names, ", ")+" get a page")
	return status.Answer{
		RunID: newID(), Message: what + " is under maintenance: visitors get a page, requests in flight finish, containers run on",
		Ends: endsBy("`remora maintenance "+what+" off`", c.For),
	}, nil
}

// served are the services that take requests: one, or all for "".
func (w *worker) served(service string) []string {
	var names []string
	for name, s := range w.app.Services {
		if (service == "" || service == name) && s.Active != nil && s.Active.Service.Kind == manifests.KindEndpoint {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
