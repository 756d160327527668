package acme

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
)

// longestRetry bounds the pause between two tries for one name.
const longestRetry = 6 * time.Hour

// Keep makes the host names that are kept exactly these, in lower case. What is
// on disk for them is there when it returns; the rest comes after [Keeper.Begin].
func (k *Keeper) Keep(hosts []string) {
	found := k.readNew(hosts)
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, host := range slices.Sorted(maps.Keys(k.names)) {
		if !slices.Contains(hosts, host) {
			k.drop(host)
		}
	}
	for host, state := range found {
		if k.names[host] == nil {
			k.names[host] = &name{state: state}
		}
	}
}

// Begin has certificates issued for the names that are kept: the authority's
// questions have to reach the ports from now on.
func (k *Keeper) Begin() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for host, n := range k.names {
		k.begin(host, n)
	}
}

// readNew reads what is on disk for the names that are not kept yet.
func (k *Keeper) readNew(hosts []string) map[string]State {
	k.mu.Lock()
	found := map[string]State{}
	for _, host := range hosts {
		if k.names[host] == nil {
			found[host] = State{}
		}
	}
	k.mu.Unlock()
	for host := range found {
		chain, key := k.read(host)
		found[host] = State{Chain: chain, Key: key}
	}
	return found
}

// State returns how a host name stands; the zero State for one that is not kept.
func (k *Keeper) State(host string) State {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n := k.names[host]; n != nil {
		return n.state
	}
	return State{}
}

// drop forgets a name; its certificate stays on disk.
func (k *Keeper) drop(host string) {
	if stop := k.names[host].stop; stop != nil {
		stop()
	}
	delete(k.names, host)
	k.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: host}})
}

// begin begins with a name, unless that is done.
func (k *Keeper) begin(host string, n *name) {
	if n.stop != nil || k.ctx.Err() != nil {
		return
	}
	ctx, stop := context.WithCancel(k.ctx)
	n.stop = stop
	k.group.Go(func() {
		defer stop()
		k.manage(ctx, host)
	})
}

// manage has the certificate issued, or renewed, as soon as that is possible;
// later renewals are certmagic's own.
func (k *Keeper) manage(ctx context.Context, host string) {
	for attempt := 0; ; attempt++ {
		// With the number of the attempt, certmagic tries Let's Encrypt's staging
		// directory first after a failure, which has wider limits.
		tries := attempt
		err := k.magic.ManageSync(context.WithValue(ctx, certmagic.AttemptsCtxKey, &tries), []string{host})
		if err == nil {
			k.reload(host)
			return
		}
		if ctx.Err() != nil {
			return
		}
		pause := k.pause(attempt)
		k.failed(host, err, time.Now().Add(pause))
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// pause doubles with every attempt, a little apart for every name.
func (k *Keeper) pause(attempt int) time.Duration {
	d := min(k.opt.FirstRetry<<min(attempt, 20), longestRetry)
	return d - time.Duration(rand.Int64N(int64(d)/8+1))
}

// event takes what certmagic tells, from any of its goroutines.
func (k *Keeper) event(_ context.Context, event string, data map[string]any) error {
	host, _ := data["identifier"].(string)
	switch event {
	case "cert_obtained":
		k.reload(host)
	case "cert_failed":
		if err, ok := data["error"].(error); ok {
			k.failed(host, err, time.Time{})
		}
	case "cached_managed_cert":
		names, _ := data["sans"].([]string)
		for _, host := range names {
			k.reload(host) // another host may have renewed it
		}
	}
	return nil
}

// failed notes why a name has no new certificate. The time of the next try, once
// known, stays.
func (k *Keeper) failed(host string, err error, next time.Time) {
	if errors.Is(err, context.Canceled) {
		return
	}
	text := reason(host, err)
	k.mu.Lock()
	n := k.names[host]
	if n == nil {
		k.mu.Unlock()
		return
	}
	same := n.state.Trouble == text
	n.state.Trouble, n.state.Next = text, next
	if !same {
		n.state.Since = time.Now()
	}
	k.mu.Unlock()
	if !same {
		k.opt.Changed(host)
	}
}

// reason is an error without the name, which certmagic repeats.
func reason(host string, err error) string {
	text := err.Error()
	for _, again := range []string{host + ": obtaining certificate: ", host + ": renewing certificate: ", "[" + host + "] Obtain: ", "[" + host + "] Renew: ", "[" + host + "] "} {
		text = strings.ReplaceAll(text, again, "")
	}
	return text
}

// reload takes the certificate that is on disk now, and ends the trouble that
// there was if it is another one.
func (k *Keeper) reload(host string) {
	chain, key := k.read(host)
	k.mu.Lock()
	n := k.names[host]
	if n == nil || chain == nil || bytes.Equal(n.state.Chain, chain) {
		k.mu.Unlock()
		return
	}
	n.state = State{Chain: chain, Key: key}
	k.mu.Unlock()
	k.opt.Changed(host)
}

// read returns what is on disk for a name, unless it is no pair.
func (k *Keeper) read(host string) (chain, key []byte) {
	id := k.issuer.IssuerKey()
	chain, err := k.magic.Storage.Load(k.ctx, certmagic.StorageKeys.SiteCert(id, host))
	if err == nil {
		key, err = k.magic.Storage.Load(k.ctx, certmagic.StorageKeys.SitePrivateKey(id, host))
	}
	if err == nil {
		_, err = tls.X509KeyPair(chain, key)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			k.opt.Log.Warn("certificate on disk is of no use", "host", host, "err", err)
		}
		return nil, nil
	}
	return chain, key
}
