package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// call asks another service once and tells what it said.
func (p *program) call(w http.ResponseWriter, r *http.Request) {
	p.note(r)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(r.URL.Query().Get("url"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"version": p.Version, "status": resp.StatusCode,
		"peer": resp.Header.Get("X-Version"), "instance": resp.Header.Get("X-Instance"), "body": string(body),
	})
}

// calls is the account of the caller role: it never retries.
type calls struct {
	mu       sync.Mutex
	Sent     int            `json:"sent"`
	Answered int            `json:"answered"`
	Versions map[string]int `json:"versions"`
	Failures []string       `json:"failures"`
	MaxMS    float64        `json:"max_ms"`
}

// callForever calls CallURL at its pace, over kept-alive connections and
// fresh ones in turn; GET /calls is its account.
func (p *program) callForever(ctx context.Context) {
	c := &calls{Versions: map[string]int{}}
	p.mux.HandleFunc("GET /calls", func(w http.ResponseWriter, _ *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		answer(w, http.StatusOK, c)
	})
	kept := &http.Client{Timeout: 30 * time.Second}
	fresh := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	p.background(func() error {
		for n := 0; pause(ctx, p.CallInterval); n++ {
			client := kept
			if n%2 == 1 {
				client = fresh
			}
			c.one(client, p.CallURL, fmt.Sprintf("%s-%d", p.Instance, n))
		}
		return nil
	})
}

func (c *calls) one(client *http.Client, url, id string) {
	req, err := http.NewRequest(http.MethodPost, url, nil)
	if err != nil {
		c.note("", 0, err)
		return
	}
	req.Header.Set("X-Request-ID", id)
	begun := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		c.note("", time.Since(begun), err)
		return
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d", id, resp.StatusCode)
	}
	c.note(resp.Header.Get("X-Version"), time.Since(begun), err)
}

func (c *calls) note(version string, took time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Sent++
	c.MaxMS = max(c.MaxMS, float64(took)/float64(time.Millisecond))
	if err != nil {
		c.Failures = append(c.Failures, err.Error())
		return
	}
	c.Answered++
	c.Versions[version]++
}
