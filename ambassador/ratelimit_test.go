package ambassador

import (
	"net/netip"
	"testing"
	"time"

	"github.com/remorahq/remora/internal/traffic"
)

func client4(n int) clientKey {
	return keyOfClient(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}))
}

// A client has its burst at once and then what comes back, and nobody else has
// less for it.
func TestRateIsABucketForEachClient(t *testing.T) {
	l, rate := newLimiter(), traffic.Rate{PerSecond: 10, Burst: 3}
	now := time.Hour
	for i := range 3 {
		if wait := l.take(client4(1), now, rate); wait != 0 {
			t.Fatalf("token %d: wait %s", i, wait)
		}
	}
	if wait := l.take(client4(1), now, rate); wait != 100*time.Millisecond {
		t.Errorf("the fourth token is there after %s, want 100ms", wait)
	}
	if wait := l.take(client4(2), now, rate); wait != 0 {
		t.Errorf("another client waits %s", wait)
	}
	now += 100 * time.Millisecond
	if wait := l.take(client4(1), now, rate); wait != 0 {
		t.Errorf("wait %s after a token came back", wait)
	}
	if wait := l.take(client4(1), now, rate); wait == 0 {
		t.Error("two tokens came back in the time of one")
	}
	now += time.Hour
	for i := range 4 {
		if wait := l.take(client4(1), now, rate); (wait != 0) != (i == 3) {
			t.Errorf("after an hour, token %d: wait %s", i, wait)
		}
	}
}

// One IPv6 client has a /64; IPv4 in IPv6 form is the same client.
func TestClientsOfOneNetworkCountAsOne(t *testing.T) {
	key := func(s string) clientKey { return keyOfClient(netip.MustParseAddr(s)) }
	if key("2001:db8::1") != key("2001:db8::ffff:1:2:3") {
		t.Error("two addresses of a /64 differ")
	}
	if key("2001:db8::1") == key("2001:db8:0:1::1") {
		t.Error("two /64 are the same")
	}
	if key("::ffff:192.0.2.1") != key("192.0.2.1") || key("192.0.2.1") == key("192.0.2.2") {
		t.Error("IPv4 addresses are confused")
	}
	if key("0.0.0.1") == key("::1") {
		t.Error("IPv4 and IPv6 are confused")
	}
}

// However many clients come, a limiter's memory is bounded, and a client that
// has used up its tokens does not get new ones by it.
func TestRateMemoryIsBounded(t *testing.T) {
	l, rate := newLimiter(), traffic.Rate{PerSecond: 0.1, Burst: 5}
	greedy, now := client4(1), time.Hour
	for range 5 {
		l.take(greedy, now, rate)
	}
	for i := range 300_000 {
		now += time.Microsecond
		l.take(client4(2+i), now, rate)
	}
	total := 0
	for i := range l.shards {
		total += len(l.shards[i].full)
	}
	if most := limiterShards * limiterClients; total > most {
		t.Errorf("%d buckets, want at most %d", total, most)
	}
	if wait := l.take(greedy, now, rate); wait == 0 {
		t.Error("the client got its tokens back because others came")
	}
	// When all are full again they make room.
	now += 24 * time.Hour
	for i := range 100_000 {
		l.take(client4(400_000+i), now, rate)
	}
	if _, known := l.shards[greedy.mixed(l.seed)%limiterShards].full[greedy]; known {
		t.Error("a full bucket is kept for good")
	}
}
