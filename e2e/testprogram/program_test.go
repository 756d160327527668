package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/remorahq/remora/e2e/rig"
)

// running is the test program as a process of this machine.
type running struct {
	cmd  *exec.Cmd
	url  string
	done chan struct{}
	out  *strings.Builder // to be read after done
}

// begin starts the program with an HTTP port of its own.
func begin(t *testing.T, args ...string) *running {
	t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))
	r := &running{url: "http://" + addr, done: make(chan struct{}), out: &strings.Builder{}}
	r.cmd = exec.Command(rig.TestProgram(t), append([]string{"-http", addr, "-version", "v1", "-instance", "i1"}, args...)...)
	r.cmd.Stdout, r.cmd.Stderr = r.out, r.out
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.done)
		_ = r.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.done
	})
	return r
}

func (r *running) listening(t *testing.T) {
	t.Helper()
	rig.Eventually(t, 10*time.Second, "wait for the program", func() error {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// exit waits for the end and returns the code.
func (r *running) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-r.done:
		return r.cmd.ProcessState.ExitCode()
	case <-time.After(10 * time.Second):
		t.Fatal("the program does not end")
		return 0
	}
}

func (r *running) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestTempers(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ answered, ends bool }{
		"graceful": {answered: true, ends: true},
		"abrupt":   {answered: false, ends: true},
		"stubborn": {answered: true, ends: false},
	}
	for temper, want := range tests {
		t.Run(temper, func(t *testing.T) {
			t.Parallel()
			r := begin(t, "-temper", temper)
			r.listening(t)
			answered := make(chan bool)
			go func() {
				resp, err := http.Get(r.url + "/?delay=500ms&id=x")
				if err == nil {
					resp.Body.Close()
				}
				answered <- err == nil
			}()
			waitForRequest(t, r, "x")
			r.signal(t, syscall.SIGTERM)
			if got := <-answered; got != want.answered {
				t.Errorf("request in flight answered: %t, want %t", got, want.answered)
			}
			if !want.ends {
				fetch(t, r.url+"/") // lives
				return
			}
			if code := r.exit(t); code != 0 {
				t.Errorf("exit code %d:\n%s", code, r.out)
			}
		})
	}
}

// waitForRequest waits until the program's own account has the request.
func waitForRequest(t *testing.T, r *running, id string) {
	t.Helper()
	rig.Eventually(t, 5*time.Second, "wait for the request", func() error {
		resp, err := http.Get(r.url + "/requests")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var account struct{ Counts map[string]int }
		if err := json.NewDecoder(resp.Body).Decode(&account); err != nil {
			return err
		}
		if account.Counts[id] != 1 {
			return fmt.Errorf("counts are %v", account.Counts)
		}
		return nil
	})
}

func TestShortKeepAlive(t *testing.T) {
	t.Parallel()
	r := begin(t, "-temper", "short-keepalive")
	r.listening(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
	begun := time.Now()
	if _, err := io.ReadAll(conn); err != nil {
		t.Fatal(err)
	}
	if idle := time.Since(begun); idle > time.Second {
		t.Errorf("the connection stayed open for %s", idle)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	never := begin(t, "-never-ready")
	never.listening(t)
	if code, _ := fetch(t, never.url+"/health"); code != http.StatusInternalServerError {
		t.Errorf("never ready answers %d", code)
	}
	if out, err := exec.Command(rig.TestProgram(t), "healthcheck", never.url+"/health").CombinedOutput(); err == nil {
		t.Errorf("healthcheck is content: %s", out)
	}
	crash := begin(t, "-crash-after", "100ms", "-exit-code", "7")
	if code := crash.exit(t); code != 7 {
		t.Errorf("crash ended with %d", code)
	}
}

func TestOnce(t *testing.T) {
	t.Parallel()
	rows := filepath.Join(t.TempDir(), "rows")
	if code := begin(t, "-row-file", rows, "once").exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if code := begin(t, "-exit-code", "3", "once").exit(t); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	if b, err := os.ReadFile(rows); string(b) != "once v1 i1\n" {
		t.Errorf("rows are %q, %v", b, err)
	}
}

func TestDatabaseDetectsTwoWriters(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := begin(t, "-data", dir, "database")
	first.listening(t)
	resp, err := http.Post(first.url+"/rows?id=r1", "", strings.NewReader("apple"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	first.signal(t, syscall.SIGSTOP) // paused, as a standby is
	if code := begin(t, "-data", dir, "database").exit(t); code != 42 {
		t.Errorf("second writer ended with %d, want 42", code)
	}
	first.signal(t, syscall.SIGCONT)
	first.signal(t, syscall.SIGTERM)
	first.exit(t)
	second := begin(t, "-data", dir, "-version", "v2", "database")
	second.listening(t)
	if _, body := fetch(t, second.url+"/rows"); !strings.Contains(body, "row v1 r1 apple") || !strings.Contains(body, "start v2 i1") {
		t.Errorf("rows are %s", body)
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	r := begin(t)
	r.listening(t)
	conn, _, err := websocket.Dial(t.Context(), r.url+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Write(t.Context(), websocket.MessageText, []byte("ping")); err != nil {
		t.Fatal(err)
	}
	if _, message, err := conn.Read(t.Context()); err != nil || string(message) != "ping" {
		t.Errorf("echo is %q, %v", message, err)
	}
	if _, body := fetch(t, r.url+"/events?n=2&interval=1ms"); strings.Count(body, "data: ") != 2 {
		t.Errorf("events are %q", body)
	}
	resp, err := http.Post(r.url+"/upload", "", strings.NewReader("hello\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var sum struct {
		Bytes  int
		SHA256 string
	}
	if err := json.NewDecoder(resp.Body).Decode(&sum); err != nil || sum.Bytes != 6 || !strings.HasPrefix(sum.SHA256, "5891b5b522d5df08") {
		t.Errorf("upload is %+v, %v", sum, err)
	}
	r.signal(t, syscall.SIGTERM)
	if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the WebSocket ended with %v, want a close frame", err)
	}
	if code := r.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestTCPAndCollector(t *testing.T) {
	t.Parallel()
	collector := rig.StartCollector(t, "127.0.0.1")
	echo, greeting := fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t)), fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))
	r := begin(t, "-tcp-echo", echo, "-tcp-greeting", greeting, "-record", collector.Record, "http", "tcp")
	r.listening(t)
	conn, err := net.Dial("tcp", greeting)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	lines := bufio.NewReader(conn)
	if line, err := lines.ReadString('\n'); line != "hello v1 i1\n" {
		t.Errorf("greeting is %q, %v", line, err)
	}
	fmt.Fprintln(conn, "id t-1")
	if line, err := lines.ReadString('\n'); line != "id t-1\n" {
		t.Errorf("echo is %q, %v", line, err)
	}
	rig.Eventually(t, 5*time.Second, "wait for the account", func() error {
		entries := collector.Entries()
		if len(entries) != 1 || entries[0].ID != "t-1" || entries[0].Version != "v1" {
			return fmt.Errorf("entries are %+v", entries)
		}
		return nil
	})
}
