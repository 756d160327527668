package main

import (
	"fmt"
	"net/http"
	"os/exec"
	"time"

	"github.com/remorahq/remora/e2e/rig"
)

// attack is a way of being slow.
type attack struct {
	name string
	args []string
}

// attacks are slowhttptest(1)'s: hundreds of connections that send heads or
// bodies, or read answers, a few bytes at a time.
func attacks() []attack {
	return []attack{
		{"slow headers", []string{"-H", "-i", "2"}},
		{"slow body", []string{"-B", "-i", "2", "-s", "8192", "-t", "POST"}},
		{"slow read", []string{"-X", "-k", "3", "-n", "2", "-w", "1", "-y", "8", "-z", "4"}},
	}
}

// slowConns is how many connections an attack has, and slowFor how many seconds.
const slowConns, slowFor = 500, 15

// runSlow asks for a page again and again while an attack goes on: everybody
// else must be served.
func runSlow(t rig.TB, s settings) score {
	var sc score
	for _, a := range attacks() {
		f := newField(t, s.bin)
		url := "http://" + f.addr(f.http) + "/"
		args := append([]string{"-c", fmt.Sprint(slowConns), "-r", "250", "-l", fmt.Sprint(slowFor), "-p", "3", "-u", url}, a.args...)
		done := make(chan error, 1)
		go func() {
			out, err := exec.CommandContext(t.Context(), "slowhttptest", args...).CombinedOutput()
			if err != nil {
				err = fmt.Errorf("%w\n%s", err, out)
			}
			done <- err
		}()
		asked, failed, slowest, err := ask(url, done)
		sc.total++
		if err != nil || failed > 0 || slowest > time.Second {
			t.Errorf("slow: %s: %d of %d requests of others failed, the slowest took %v; %v", a.name, failed, asked, slowest, err)
			continue
		}
		fmt.Printf("  %s: %d requests of others, the slowest took %v\n", a.name, asked, slowest.Round(time.Millisecond))
		sc.passed++
	}
	return sc
}

// ask asks until done, on a new connection each time.
func ask(url string, done <-chan error) (asked, failed int, slowest time.Duration, err error) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return asked, failed, slowest, err
		case <-tick.C:
		}
		begun := time.Now()
		resp, err := client.Get(url)
		asked++
		if err != nil || resp.StatusCode != http.StatusOK {
			failed++
		}
		if err == nil {
			_ = resp.Body.Close()
		}
		slowest = max(slowest, time.Since(begun))
	}
}
