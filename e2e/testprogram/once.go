package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// once is a one-shot job: sleep, ask a URL, write a row, exit with the code.
func once(ctx context.Context, s settings, a *account) error {
	fmt.Printf("once begin version=%s instance=%s\n", s.Version, s.Instance)
	a.Note("ONCE", s.Version, "begin")
	if !pause(ctx, s.Sleep) {
		return &exitError{143, "told to stop"}
	}
	if s.Get != "" {
		if err := askAll(s); err != nil {
			return err
		}
	}
	if s.RowFile != "" {
		if err := appendRow(s.RowFile, fmt.Sprintf("once %s %s", s.Version, s.Instance)); err != nil {
			return err
		}
	}
	fmt.Printf("once end version=%s code=%d\n", s.Version, s.ExitCode)
	if s.ExitCode != 0 {
		return &exitError{s.ExitCode, fmt.Sprintf("job failed as told, code %d", s.ExitCode)}
	}
	return nil
}

func askAll(s settings) error {
	client := &http.Client{Timeout: 5 * time.Second}
	for range s.Repeat {
		resp, err := client.Get(s.Get)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		got := resp.Header.Get("X-Version")
		fmt.Printf("once get=%s status=%d version=%s\n", s.Get, resp.StatusCode, got)
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("get %s: status %d", s.Get, resp.StatusCode)
		}
		if s.Expect != "" && got != s.Expect {
			return fmt.Errorf("get %s: answered by %q, expected %q", s.Get, got, s.Expect)
		}
	}
	return nil
}
