// Package jobqueue is a queue of numbered jobs over HTTP that remembers who
// took and who finished each: the judge of the tests that let workers run
// through deployments. It must not know anything about the workers' releases.
//
// A Queue is safe for concurrent use and starts no goroutines.
package jobqueue

import (
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Doing is one worker's hand on one job.
type Doing struct {
	Version  string    `json:"version"`
	Instance string    `json:"instance"`
	At       time.Time `json:"at"`
}

// Job is one numbered job and its history; numbers begin at 1.
type Job struct {
	Number int     `json:"job"`
	Taken  []Doing `json:"taken"`
	Done   []Doing `json:"done"`
}

// Queue hands out jobs in order, each once.
//
//	POST /jobs/take?version=&instance=       the next job, 204 when there is none
//	POST /jobs/done?job=&version=&instance=  reports one
//	GET  /jobs/                              all that were taken
type Queue struct {
	mu   sync.Mutex
	size int
	jobs []Job // taken so far
	mux  *http.ServeMux
}

// New is a queue of size jobs.
func New(size int) *Queue {
	q := &Queue{size: size, mux: http.NewServeMux()}
	q.mux.HandleFunc("POST /jobs/take", q.take)
	q.mux.HandleFunc("POST /jobs/done", q.done)
	q.mux.HandleFunc("GET /jobs/", q.list)
	return q
}

// ServeHTTP serves the three calls.
func (q *Queue) ServeHTTP(w http.ResponseWriter, r *http.Request) { q.mux.ServeHTTP(w, r) }

// Jobs is a copy of all jobs taken so far, in order.
func (q *Queue) Jobs() []Job {
	q.mu.Lock()
	defer q.mu.Unlock()
	jobs := make([]Job, len(q.jobs))
	for i, j := range q.jobs {
		jobs[i] = Job{Number: j.Number, Taken: append([]Doing(nil), j.Taken...), Done: append([]Doing(nil), j.Done...)}
	}
	return jobs
}

func doing(r *http.Request) Doing {
	v := r.URL.Query()
	return Doing{Version: v.Get("version"), Instance: v.Get("instance"), At: time.Now()}
}

func (q *Queue) take(w http.ResponseWriter, r *http.Request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.jobs) == q.size {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	job := Job{Number: len(q.jobs) + 1, Taken: []Doing{doing(r)}}
	q.jobs = append(q.jobs, job)
	reply(w, job)
}

func (q *Queue) done(w http.ResponseWriter, r *http.Request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, err := strconv.Atoi(r.URL.Query().Get("job"))
	if err != nil || n < 1 || n > len(q.jobs) {
		http.Error(w, "no such job was taken", http.StatusBadRequest)
		return
	}
	job := &q.jobs[n-1]
	job.Done = append(job.Done, doing(r))
	reply(w, job)
}

func (q *Queue) list(w http.ResponseWriter, _ *http.Request) { reply(w, q.Jobs()) }

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a caller that left does not want it
}
