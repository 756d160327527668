package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/remorahq/remora/e2e/proxy"
	"github.com/remorahq/remora/e2e/rig"
	"github.com/remorahq/remora/internal/traffic"
)

// report is h2spec's JUnit file.
type report struct {
	Suites []struct {
		Package string `xml:"package,attr"`
		Cases   []struct {
			Name    string    `xml:"classname,attr"`
			Failure *struct{} `xml:"failure"`
			Error   *struct{} `xml:"error"`
			Skipped *struct{} `xml:"skipped"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

// runH2spec runs h2spec against a listener that is spoken to with prior
// knowledge. Failures that are explained are no errors, but do not count as
// passed.
func runH2spec(t rig.TB, s settings) score {
	port := h2Field(t, s.bin)
	path := filepath.Join(t.TempDir(), "h2spec.xml")
	out, err := exec.CommandContext(t.Context(), filepath.Join(rig.H2spec(t), "h2spec"), "-p", fmt.Sprint(port), "-j", path).CombinedOutput()
	data, readErr := os.ReadFile(path)
	if readErr != nil {
		t.Fatalf("h2spec: %v, %v\n%s", err, readErr, out)
	}
	var r report
	if err := xml.Unmarshal(data, &r); err != nil {
		t.Fatalf("h2spec: read its report: %v", err)
	}
	return judgeH2spec(t, r)
}

func judgeH2spec(t rig.TB, r report) score {
	var sc score
	failed := map[string]bool{}
	for _, suite := range r.Suites {
		for _, c := range suite.Cases {
			name := suite.Package + ": " + c.Name
			sc.total++
			switch {
			case c.Failure == nil && c.Error == nil && c.Skipped == nil:
				sc.passed++
				continue
			case h2Reasons()[name] == "":
				t.Errorf("h2spec: %s fails, and is not explained in h2reasons.go", name)
			default:
				fmt.Printf("  fails: %s: %s\n", name, h2Reasons()[name])
			}
			failed[name] = true
		}
	}
	for name := range h2Reasons() {
		if !failed[name] {
			t.Errorf("h2spec: h2reasons.go explains %q, which passes", name)
		}
	}
	return sc
}

// h2Field starts an ambassador before a server whose answers are long enough
// for windows to be tried, and returns where it listens.
func h2Field(t rig.TB, bin string) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	srv := &http.Server{ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, strings.Repeat("x", 100))
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l) // ends with Close
	}()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	const web = "test/app/web"
	p, port := proxy.Start(t, bin, proxy.Options{}), rig.FreePort(t)
	p.Put(t, traffic.Table{
		Services:  []traffic.Service{proxy.Service(web)},
		Listeners: []traffic.Listener{proxy.Listener(port, traffic.HTTP, web, l.Addr().(*net.TCPAddr).Port)},
	})
	return port
}
