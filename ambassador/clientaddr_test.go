package ambassador

import (
	"net/netip"
	"testing"

	"github.com/remorahq/remora/internal/traffic"
)

// fields is an asker whose header has these lines, by name in lower case.
type fields map[string][]string

func (fields) gone() bool { return false }

func (f fields) field(lower string) []byte {
	if len(f[lower]) == 0 {
		return nil
	}
	return []byte(f[lower][0])
}

func (f fields) fieldFromEnd(lower string, i int) []byte {
	lines := f[lower]
	if i >= len(lines) {
		return nil
	}
	return []byte(lines[len(lines)-1-i])
}

// Behind a trusted proxy the client is whom the nearest trusted proxy speaks
// for; what the client wrote itself is not believed.
func TestClientBehindTrustedProxies(t *testing.T) {
	v := &view{table: &traffic.Table{TrustedProxies: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"),
	}}}
	for _, tt := range []struct {
		name, peer string
		lines      []string
		want       string
	}{
		{"untrusted peer", "192.0.2.9", []string{"198.51.100.1"}, "192.0.2.9"},
		{"no field", "10.0.0.1", nil, "10.0.0.1"},
		{"one", "10.0.0.1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"the last that is not trusted", "10.0.0.1", []string{"1.2.3.4, 198.51.100.1 , 10.0.0.2"}, "198.51.100.1"},
		{"a line of its own", "10.0.0.1", []string{"1.2.3.4", "198.51.100.1"}, "198.51.100.1"},
		{"through two lines", "10.0.0.1", []string{"1.2.3.4, 198.51.100.1", "10.0.0.3"}, "198.51.100.1"},
		{"all trusted", "10.0.0.1", []string{"10.0.0.2, 10.0.0.3"}, "10.0.0.2"},
		{"no address", "10.0.0.1", []string{"198.51.100.1, unknown"}, "10.0.0.1"},
		{"empty member", "10.0.0.1", []string{"198.51.100.1,"}, "10.0.0.1"},
		{"with port", "10.0.0.1", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		{"IPv6", "fd00::1", []string{"2001:db8::5"}, "2001:db8::5"},
		{"IPv6 with port", "fd00::1", []string{"[2001:db8::5]:80"}, "2001:db8::5"},
		{"IPv4 in IPv6", "fd00::1", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		{"leading zero", "10.0.0.1", []string{"198.051.100.1"}, "10.0.0.1"},
		{"too large", "10.0.0.1", []string{"300.1.1.1"}, "10.0.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := want{view: v, client: netip.MustParseAddr(tt.peer), by: fields{"x-forwarded-for": tt.lines}}
			if w.findClient(); w.client.String() != tt.want {
				t.Errorf("client %s, want %s", w.client, tt.want)
			}
		})
	}
}
