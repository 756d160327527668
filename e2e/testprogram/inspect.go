package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// inspect tells what the container gave the process.
func (p *program) inspect(w http.ResponseWriter, _ *http.Request) {
	host, _ := os.Hostname()
	groups, _ := os.Getgroups()
	dir, _ := os.Getwd()
	answer(w, http.StatusOK, map[string]any{
		"args": os.Args, "env": os.Environ(), "hostname": host, "dir": dir, "pid": os.Getpid(),
		"uid": os.Getuid(), "gid": os.Getgid(), "groups": groups,
		"status": lines("/proc/self/status"), "limits": lines("/proc/self/limits"),
		"mounts": lines("/proc/self/mountinfo"), "cgroup": lines("/proc/self/cgroup"),
		"hosts": lines("/etc/hosts"), "resolv": lines("/etc/resolv.conf"),
	})
}

func lines(path string) []string {
	b, err := os.ReadFile(path)
	if err != nil {
		return []string{err.Error()}
	}
	return strings.Split(strings.TrimRight(string(b), "\n"), "\n")
}

func (p *program) file(w http.ResponseWriter, r *http.Request) {
	b, err := os.ReadFile(r.URL.Query().Get("path"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	_, _ = w.Write(b)
}

// runTool is what a shell would do in an image that has none; ok is false
// when the arguments name no tool.
func runTool(args []string) (code int, ok bool) {
	if len(args) == 0 {
		return 0, false
	}
	var err error
	switch args[0] {
	case "healthcheck":
		err = healthcheck(args[1:])
	case "cat":
		err = each(args[1:], cat)
	case "ls":
		err = each(args[1:], list)
	case "env":
		fmt.Println(strings.Join(os.Environ(), "\n"))
	case "write":
		err = write(args[1:])
	case "sleep":
		var d time.Duration
		if d, err = time.ParseDuration(strings.Join(args[1:], "")); err == nil {
			time.Sleep(d)
		}
	default:
		return 0, false
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testprogram:", err)
		return 1, true
	}
	return 0, true
}

func healthcheck(args []string) error {
	url := "http://127.0.0.1:8080/health"
	if len(args) > 0 {
		url = args[0]
	}
	client := &http.Client{Timeout: 2 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 256))
		return fmt.Errorf("get %s: status %d: %s", url, resp.StatusCode, body)
	}
	return nil
}

func each(paths []string, do func(string) error) error {
	for _, path := range paths {
		if err := do(path); err != nil {
			return err
		}
	}
	return nil
}

func cat(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(b)
	return err
}

func list(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		fmt.Println(e.Name())
	}
	return nil
}

func write(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("write: PATH TEXT expected")
	}
	return os.WriteFile(args[0], []byte(args[1]+"\n"), 0o644)
}
