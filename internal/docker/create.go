package docker

import (
	"context"
	"errors"
	"fmt"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/strslice"

	"github.com/remorahq/remora/internal/engine"
)

// Create creates the container of c, after policy has seen the payload, and
// returns its ID; it does not start it. Repeated, it returns the same
// container: one of that name with the same release and instance. Another one
// of that name is engine.ErrConflict.
func (e *Engine) Create(ctx context.Context, c engine.Create) (string, error) {
	what := "create container " + c.Name
	facts, err := e.payloadFacts(ctx)
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	if c, err = e.clearCommand(ctx, c); err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	req, err := Payload(c, facts)
	if err != nil {
		return "", fmt.Errorf("create %w", err)
	}
	if err := e.judge(c, &req); err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	return call(ctx, what, func() (string, error) { return e.create(ctx, &req) })
}

// judge asks the host's policy about c, and this package's own about the
// request.
func (e *Engine) judge(c engine.Create, req *Request) error {
	if e.opts.Judge != nil {
		switch err := e.opts.Judge(c); {
		case errors.Is(err, engine.ErrPolicy):
			return err
		case err != nil:
			return fmt.Errorf("%w: %w", engine.ErrPolicy, err)
		}
	}
	return deny(req)
}

func (e *Engine) create(ctx context.Context, req *Request) (string, error) {
	platform, err := parsePlatform(req.Platform)
	if err != nil {
		return "", err
	}
	b := req.Body
	resp, err := e.client().ContainerCreate(ctx, b.Config, b.HostConfig, b.NetworkingConfig, platform, req.Name)
	id := resp.ID
	if err != nil {
		if err = classify(err); !errors.Is(err, engine.ErrConflict) {
			return "", err
		}
		if id, err = e.existing(ctx, req, err); err != nil {
			return "", err
		}
	}
	e.cache.touch(id)
	for _, w := range resp.Warnings {
		e.log.Warn("the engine warns about a container", "container", req.Name, "warning", w)
	}
	return id, e.connectAll(ctx, id, req.Connect)
}

// existing is the container that has the request's name, if an earlier call
// of the same request made it.
func (e *Engine) existing(ctx context.Context, req *Request, conflict error) (string, error) {
	have, err := e.client().ContainerInspect(ctx, req.Name)
	if err != nil {
		if err = classify(err); errors.Is(err, engine.ErrNotFound) {
			return "", fmt.Errorf("%w (the name is free again): %w", engine.ErrTransient, conflict)
		}
		return "", err
	}
	want := req.Body.Labels
	for _, label := range []string{engine.LabelApp, engine.LabelEnvironment, engine.LabelRelease, engine.LabelInstance} {
		if want[label] == "" || have.Config.Labels[label] != want[label] {
			return "", fmt.Errorf("container %s has this name and its label %s is %q, not %q: %w",
				short(have.ID), label, have.Config.Labels[label], want[label], conflict)
		}
	}
	if got := have.Config.Labels[engine.LabelHostrev]; got != want[engine.LabelHostrev] {
		return "", fmt.Errorf("container %s has this name and other inputs of this host (%s %q, not %q): %w",
			short(have.ID), engine.LabelHostrev, got, want[engine.LabelHostrev], conflict)
	}
	return have.ID, sameAddresses(&have, req, conflict)
}

// sameAddresses holds the fixed addresses of a container that exists against
// those of the request: traffic goes where the request says.
func sameAddresses(have *container.InspectResponse, req *Request, conflict error) error {
	for name, want := range req.Body.NetworkingConfig.EndpointsConfig {
		if want.IPAMConfig == nil || want.IPAMConfig.IPv4Address == "" {
			continue
		}
		got := ""
		if at := have.NetworkSettings.Networks[name]; at != nil && at.IPAMConfig != nil {
			got = at.IPAMConfig.IPv4Address
		}
		if got != want.IPAMConfig.IPv4Address {
			return fmt.Errorf("container %s has this name and the address %q on %s, not %s: %w",
				short(have.ID), got, name, want.IPAMConfig.IPv4Address, conflict)
		}
	}
	return nil
}

// connectAll joins the networks that the engine does not take at creation.
func (e *Engine) connectAll(ctx context.Context, id string, all []Connection) error {
	if len(all) == 0 {
		return nil
	}
	have, err := e.client().ContainerInspect(ctx, id)
	if err != nil {
		return classify(err)
	}
	for _, c := range all {
		if _, joined := have.NetworkSettings.Networks[c.Network]; joined {
			continue
		}
		if err := e.client().NetworkConnect(ctx, c.Network, id, c.Endpoint); err != nil {
			return fmt.Errorf("connect network %s: %w", c.Network, classify(err))
		}
	}
	return nil
}

// clearCommand makes `command: []` mean what it says: the engine takes an
// empty command for none given and would run the image's, unless an
// entrypoint is given too.
func (e *Engine) clearCommand(ctx context.Context, c engine.Create) (engine.Create, error) {
	if c.Spec.Command == nil || len(*c.Spec.Command) > 0 || c.Spec.Entrypoint != nil {
		return c, nil
	}
	image, err := ask(ctx, e, "inspect image "+c.Image, func(ctx context.Context) (strslice.StrSlice, error) {
		image, err := e.client().ImageInspect(ctx, c.Image)
		if err != nil || image.Config == nil {
			return nil, err
		}
		return image.Config.Entrypoint, nil
	})
	if err != nil || len(image) == 0 {
		return c, err
	}
	c.Spec.Entrypoint = new([]string(image))
	return c, nil
}

// payloadFacts are the engine's properties that payloads depend on.
func (e *Engine) payloadFacts(ctx context.Context) (Facts, error) {
	f, err := e.engineFacts(ctx)
	if err != nil {
		return Facts{}, err
	}
	return f.payload, nil
}

// Render is the request that Create would send to this engine now.
func (e *Engine) Render(ctx context.Context, c engine.Create) (Request, error) {
	facts, err := e.payloadFacts(ctx)
	if err != nil {
		return Request{}, err
	}
	return Payload(c, facts)
}

// short is an ID as people see it.
func short(id string) string {
	if len(id) > 12 {
		return id[:12]
	}
	return id
}
