package accesslog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/remorahq/remora/e2e/rig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func entry() Entry {
	return Entry{
		Time: time.Date(2026, 11, 28, 16, 22, 46, 123456789, time.UTC), Client: netip.MustParseAddr("192.0.2.7"), Port: 443,
		Protocol: "http/1.1", Method: "GET", Host: []byte("shop.example.com"), Path: []byte("/cart/items?token=secret"),
		Referer: []byte("https://example.org/reset?key=secret"), UserAgent: []byte("Mozilla/5.0 (X11; Linux x86_64)"),
		Status: 200, In: 120, Out: 4711, Duration: 1500 * time.Microsecond, FirstByte: 900 * time.Microsecond,
		Connect: 100 * time.Microsecond, Route: "shop.example.com/", Service: "production/shop/web", Release: "r1:0123456789ab",
		Container: "0123456789ab", Attempts: 1, Generation: 12, TLS: "1.3", ServerName: "shop.example.com",
	}
}

func newLog(t testing.TB, dir string, s Settings) *Log {
	t.Helper()
	l := New(dir, slog.New(slog.DiscardHandler))
	t.Cleanup(l.Close)
	l.Set(s)
	return l
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestJSONHasEveryField(t *testing.T) {
	dir := t.TempDir()
	l := newLog(t, dir, Settings{Format: JSON})
	e := entry()
	e.Replayed, e.Why = true, "unheard"
	l.Write(&e)
	l.Close()
	var got map[string]any
	line := read(t, filepath.Join(dir, FileName))
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	want := map[string]any{
		"time": "2026-11-28T16:22:46.123456Z", "client": "192.0.2.7", "port": 443., "protocol": "http/1.1", "method": "GET",
		"host": "shop.example.com", "path": "/cart/items", "status": 200., "in": 120., "out": 4711., "duration_us": 1500.,
		"first_byte_us": 900., "connect_us": 100., "route": "shop.example.com/", "service": "production/shop/web",
		"release": "r1:0123456789ab", "container": "0123456789ab", "attempts": 1., "replayed": true, "why": "unheard", "generation": 12.,
		"tls": "1.3", "server_name": "shop.example.com", "referer": "https://example.org/reset", "user_agent": "Mozilla/5.0 (X11; Linux x86_64)",
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is %v, want %v", k, got[k], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %d fields, want %d: %s", len(got), len(want), line)
	}
	if strings.Contains(line, "secret") {
		t.Errorf("a query was written: %s", line)
	}
}

func TestCombined(t *testing.T) {
	dir := t.TempDir()
	l := newLog(t, dir, Settings{Format: Combined})
	e := entry()
	l.Write(&e)
	e = Entry{Time: e.Time, Client: e.Client, Port: 5432, Protocol: "tunnel", Out: 9}
	l.Write(&e)
	l.Close()
	want := `192.0.2.7 - - [28/Nov/2026:16:22:46 +0000] "GET /cart/items HTTP/1.1" 200 4711 "https://example.org/reset" "Mozilla/5.0 (X11; Linux x86_64)"
192.0.2.7 - - [28/Nov/2026:16:22:46 +0000] "TUNNEL :5432 TCP" 0 9 "-" "-"
`
	got := strings.Split(read(t, filepath.Join(dir, FileName)), "\n")
	for line := range strings.SplitSeq(want, "\n") {
		found := false
		for _, g := range got {
			found = found || g == line
		}
		if !found {
			t.Errorf("missing %q in\n%s", line, strings.Join(got, "\n"))
		}
	}
}

// hostile are texts that would harm a terminal or a reader of lines.
func hostile() []string {
	return []string{
		"\x1b[2J\x1b]0;owned\x07", "a\nb\r\nc", `","status":200,"x":"`, `\`, `"`, "\x00\x7f", "\u009b31m", "\u202egnp.exe",
		"\u2028", "naïve", "🎣", "\xff\xfe", "\xf0\x9f", "\xed\xa0\x80", strings.Repeat("a", 3000), strings.Repeat("\x01", 3000),
	}
}

func TestHostileTextsAreOneSafeLine(t *testing.T) {
	for _, text := range hostile() {
		e := entry()
		e.Host, e.Path, e.UserAgent, e.Referer, e.Method = []byte(text), []byte(text), []byte(text), []byte(text), text
		e.ServerName = text
		line := appendJSON(nil, new(stamp), &e)
		safe(t, line)
		var got struct {
			UserAgent string `json:"user_agent"`
		}
		if err := json.Unmarshal(line, &got); err != nil {
			t.Errorf("%q: %v in %s", text, err, line)
		}
		want := strings.ToValidUTF8(text, "\ufffd")
		if utf8.ValidString(text) && len(text) <= maxText && got.UserAgent != want {
			t.Errorf("user agent %q reads as %q", text, got.UserAgent)
		}
		if len(line) > maxLine {
			t.Errorf("%q: a line of %d bytes", text[:10], len(line))
		}
		safe(t, appendCombined(nil, new(stamp), &e))
	}
}

// safe checks that a line is printable ASCII and one line.
func safe(t *testing.T, line []byte) {
	t.Helper()
	for i, c := range line {
		if last := i == len(line)-1; (c < ' ' || c > '~') && (!last || c != '\n') {
			t.Fatalf("byte %#x at %d of %q", c, i, line)
		}
	}
}

func FuzzLine(f *testing.F) {
	for _, text := range hostile() {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		e := entry()
		e.Path, e.UserAgent = text, text
		line := appendJSON(nil, new(stamp), &e)
		safe(t, line)
		safe(t, appendCombined(nil, new(stamp), &e))
		if !json.Valid(line) {
			t.Fatalf("not JSON: %s", line)
		}
	})
}

// TestRotation: two processes write and rotate the same file; no line is lost,
// none is torn, and no more files stay than are kept.
func TestRotation(t *testing.T) {
	const lines, keep = 4000, 1000 // so many that none is removed
	dir := t.TempDir()
	s := Settings{Format: JSON, MaxSize: 20 << 10, Keep: keep}
	logs := []*Log{newLog(t, dir, s), newLog(t, dir, s)}
	var wg sync.WaitGroup
	for i, l := range logs {
		wg.Go(func() {
			for n := range lines {
				e := entry()
				e.Path = fmt.Appendf(nil, "/%d/%d", i, n)
				l.Write(&e)
				if n%100 == 99 {
					await(t, l, uint64(n+1))
				}
			}
		})
	}
	wg.Wait()
	for _, l := range logs {
		l.Close()
		if st := l.Stats(); st.Written != lines || st.Dropped != 0 {
			t.Errorf("stats %+v", st)
		}
	}
	seen := map[string]int{}
	files, err := filepath.Glob(filepath.Join(dir, FileName+"*"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, p := range files {
		for line := range strings.Lines(read(t, p)) {
			var e struct{ Path string }
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%v in %q", err, line)
			}
			seen[e.Path]++
		}
	}
	if len(seen) != 2*lines {
		t.Errorf("found %d different lines, want %d", len(seen), 2*lines)
	}
}

// await waits until so many lines were written.
func await(t *testing.T, l *Log, n uint64) {
	deadline := time.Now().Add(10 * time.Second)
	for l.Stats().Written < n {
		if time.Now().After(deadline) {
			t.Errorf("waited for %d lines: %+v", n, l.Stats())
			return
		}
		<-time.After(time.Millisecond)
	}
}

func TestKeep(t *testing.T) {
	dir := t.TempDir()
	for n := range 9 { // of a time when more were kept
		if err := os.WriteFile(fmt.Sprintf("%s/%s.%d", dir, FileName, n+1), []byte("old\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := newLog(t, dir, Settings{Format: JSON, MaxSize: 1, Keep: 2})
	for n := range 5 {
		e := entry()
		e.Path = fmt.Appendf(nil, "/%d", n)
		l.Write(&e)
		await(t, l, uint64(n+1))
	}
	l.Close()
	files, _ := filepath.Glob(filepath.Join(dir, FileName+"*"))
	if len(files) != 2 {
		t.Fatalf("files %v, want .1 and .2", files)
	}
	for n, want := range []string{`"/4"`, `"/3"`} {
		if got := read(t, fmt.Sprintf("%s/%s.%d", dir, FileName, n+1)); !strings.Contains(got, want) {
			t.Errorf(".%d has %q, want %s", n+1, got, want)
		}
	}
}

// TestFullDisk: lines are dropped and counted, what others need stays free, and
// writing goes on once there is room.
func TestFullDisk(t *testing.T) {
	dir := rig.SmallDisk(t, 1<<20)
	room := rig.FillDisk(t, dir)
	l := newLog(t, dir, Settings{Format: JSON})
	e := entry()
	for range 1000 {
		l.Write(&e)
	}
	settled(t, l, 1000)
	if st := l.Stats(); st.Written != 0 || st.Dropped != 1000 {
		t.Fatalf("on a full disk: %+v", st)
	}
	room()
	for n := uint64(1000); n < 20_000; n += 500 {
		for range 500 {
			l.Write(&e)
		}
		settled(t, l, n+500)
	}
	l.Close()
	st := l.Stats()
	if st.Written == 0 || st.Dropped <= 1000 {
		t.Fatalf("after room was made, and the disk filled by the log: %+v", st)
	}
	if err := os.WriteFile(filepath.Join(dir, "table.json"), make([]byte, 16<<10), 0o600); err != nil {
		t.Errorf("the log left no room for a table: %v", err)
	}
	for line := range strings.Lines(read(t, filepath.Join(dir, FileName))) {
		if !json.Valid([]byte(line)) {
			t.Fatalf("torn line %q", line)
		}
	}
}

func settled(t *testing.T, l *Log, n uint64) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		st := l.Stats()
		if st.Written+st.Dropped >= n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited for %d lines: %+v", n, st)
		}
		<-time.After(time.Millisecond)
	}
}

// TestTornLine: a line that a full disk cut does not spoil the next one.
func TestTornLine(t *testing.T) {
	dir := t.TempDir()
	f := file{dir: dir, torn: true}
	defer f.close()
	if err := os.WriteFile(f.path(0), []byte(`{"half":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.append([]byte("{}\n"), &Settings{MaxSize: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, f.path(0)); got != "{\"half\":\n{}\n" {
		t.Errorf("file is %q", got)
	}
}

// TestStuckDisk: while the file cannot be written at all, writers do not wait.
func TestStuckDisk(t *testing.T) {
	l := newLog(t, filepath.Join(t.TempDir(), "absent"), Settings{Format: JSON})
	e := entry()
	begun := time.Now()
	for range 50_000 {
		l.Write(&e)
	}
	if d := time.Since(begun); d > 5*time.Second {
		t.Errorf("50,000 lines took %s", d)
	}
	l.Close()
	if st := l.Stats(); st.Dropped != 50_000 {
		t.Errorf("stats %+v", st)
	}
}

// TestIdleWriterSleeps: nothing wakes the writer while nothing is logged.
func TestIdleWriterSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(t.TempDir(), slog.New(slog.DiscardHandler))
		l.Set(Settings{Format: JSON})
		e := entry()
		l.Write(&e)
		begun := time.Now()
		for l.Stats().Written == 0 {
			<-time.After(time.Millisecond)
		}
		if d := time.Since(begun); d > 2*gather {
			t.Errorf("a line took %s", d)
		}
		l.Close()
	})
}

func TestReadConvertsAndFollows(t *testing.T) {
	dir := t.TempDir()
	l := newLog(t, dir, Settings{Format: JSON, MaxSize: 1, Keep: 3})
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte("{\"torn\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var out lockedBuffer
	done := make(chan error, 1)
	go func() {
		done <- Read(ctx, Reading{Dir: dir, Last: 10, Follow: true, Format: Combined}, &out)
	}()
	for n := range 3 {
		e := entry()
		e.Path = fmt.Appendf(nil, "/%d", n)
		l.Write(&e)
		await(t, l, uint64(n+1))
		want := fmt.Sprintf(`"GET /%d HTTP/1.1" 200 4711`, n)
		for deadline := time.Now().Add(10 * time.Second); !strings.Contains(out.String(), want); {
			if time.Now().After(deadline) {
				t.Fatalf("waited for %s in %q", want, out.String())
			}
			// The next file appears with the next line.
			if e.Path = []byte("/tick"); n == 0 {
				l.Write(&e)
			}
			<-time.After(10 * time.Millisecond)
		}
		if n == 0 {
			break
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestReadLast(t *testing.T) {
	dir := t.TempDir()
	var all strings.Builder
	for n := range 5000 {
		fmt.Fprintf(&all, "{\"n\":%d,\"pad\":\"%060d\"}\n", n, 0)
	}
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte(all.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 3, 2000, 5000, 9000, -1} {
		var out bytes.Buffer
		if err := Read(t.Context(), Reading{Dir: dir, Last: n}, &out); err != nil {
			t.Fatal(err)
		}
		want := min(n, 5000)
		if n < 0 {
			want = 5000
		}
		if got := strings.Count(out.String(), "\n"); got != want || !strings.HasSuffix(all.String(), out.String()) {
			t.Errorf("last %d: %d lines", n, got)
		}
	}
	err := Read(t.Context(), Reading{Dir: dir, Last: -1, Format: Combined}, new(bytes.Buffer))
	if err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte("192.0.2.7 - -\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Read(t.Context(), Reading{Dir: dir, Last: -1, Format: JSON}, new(bytes.Buffer)); !errors.Is(err, ErrNotJSON) {
		t.Errorf("combined as JSON: %v", err)
	}
}

func TestWriteAllocatesNothing(t *testing.T) {
	for _, format := range []Format{JSON, Combined} {
		l := newLog(t, t.TempDir(), Settings{Format: format})
		e := entry()
		for range 100 {
			l.Write(&e)
		}
		if n := testing.AllocsPerRun(1000, func() { l.Write(&e) }); n != 0 {
			t.Errorf("%s: %v allocations a line", format, n)
		}
	}
}

// BenchmarkWrite is the whole of what a line costs: the call, and the writer
// with the file.
func BenchmarkWrite(b *testing.B) {
	for _, format := range []Format{JSON, Combined} {
		b.Run(string(format), func(b *testing.B) {
			l := newLog(b, b.TempDir(), Settings{Format: format, Keep: 1})
			l.Close() // the writer is the loop here
			e := entry()
			b.ReportAllocs()
			spare, n := make([]byte, 0, shardSize), 0
			for b.Loop() {
				l.Write(&e)
				if n++; n%500 == 0 {
					spare = l.sweep(spare)
				}
			}
			if st := l.Stats(); st.Dropped > 0 {
				b.Errorf("%d lines were dropped", st.Dropped)
			}
		})
	}
}

// BenchmarkParallel is the same from all processors.
func BenchmarkParallel(b *testing.B) {
	l := newLog(b, b.TempDir(), Settings{Format: JSON, Keep: 1})
	b.RunParallel(func(pb *testing.PB) {
		e := entry()
		for pb.Next() {
			l.Write(&e)
		}
	})
	b.ReportMetric(float64(l.Stats().Dropped)/float64(b.N), "dropped/op")
}

// BenchmarkCall is what the request's side pays.
func BenchmarkCall(b *testing.B) {
	for _, format := range []Format{JSON, Combined} {
		b.Run(string(format), func(b *testing.B) {
			l := newLog(b, b.TempDir(), Settings{Format: format})
			l.Close()
			e := entry()
			n := 0
			for b.Loop() {
				l.Write(&e)
				if n++; n%500 == 0 {
					for i := range l.shards {
						l.shards[i].buf = l.shards[i].buf[:0]
					}
				}
			}
		})
	}
}
