package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/remorahq/remora/e2e/testprogram/jobqueue"
)

// drainQueue takes jobs one by one until ctx ends; a job begun is finished.
func (p *program) drainQueue(ctx context.Context) error {
	who := url.Values{"version": {p.Version}, "instance": {p.Instance}}
	for ctx.Err() == nil {
		job, ok, err := takeJob(p.QueueURL + "/jobs/take?" + who.Encode())
		if err != nil || !ok {
			pause(ctx, 50*time.Millisecond) // the queue is away, or empty
			continue
		}
		p.account.Note("JOB", strconv.Itoa(job.Number), "take")
		pause(context.Background(), p.JobTime)
		if err := p.finishJob(job, who); err != nil {
			return err
		}
	}
	return nil
}

func takeJob(url string) (jobqueue.Job, bool, error) {
	var job jobqueue.Job
	resp, err := http.Post(url, "", nil)
	if err != nil {
		return job, false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return job, false, nil
	}
	return job, true, json.NewDecoder(resp.Body).Decode(&job)
}

// finishJob reports the job; it tries for a while, because the queue itself
// may be switched to another release meanwhile.
func (p *program) finishJob(job jobqueue.Job, who url.Values) error {
	target := fmt.Sprintf("%s/jobs/done?job=%d&%s", p.QueueURL, job.Number, who.Encode())
	var last error
	for range 100 {
		resp, err := http.Post(target, "", nil)
		if err == nil {
			return resp.Body.Close()
		}
		last = err
		pause(context.Background(), 50*time.Millisecond)
	}
	return fmt.Errorf("report job %d: %w", job.Number, last)
}

// tick logs once a second: what a program does without being asked.
func (p *program) tick(ctx context.Context) error {
	for n := 0; ; n++ {
		fmt.Printf("tick n=%d version=%s instance=%s\n", n, p.Version, p.Instance)
		p.account.Note("TICK", strconv.Itoa(n), "tick")
		if !pause(ctx, time.Second) {
			return nil
		}
	}
}
