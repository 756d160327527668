package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// temper is how the program takes SIGTERM and how it treats its clients.
type temper string

const (
	graceful       temper = "graceful"        // finishes its requests, then exits 0
	abrupt         temper = "abrupt"          // exits at once
	stubborn       temper = "stubborn"        // ignores SIGTERM
	shortKeepAlive temper = "short-keepalive" // closes idle connections after 20 ms
	slow           temper = "slow"            // answers after AnswerDelay (5 s)
)

func tempers() []temper { return []temper{graceful, abrupt, stubborn, shortKeepAlive, slow} }

// settings are read from APP_<NAME> variables; a flag of the same name wins.
type settings struct {
	Version  string
	Instance string

	HTTP        string        // listen address of the http, queue, database and caller roles
	TCPEcho     string        // client speaks first
	TCPGreeting string        // server speaks first
	GRPC        string        // HTTP/2 with prior knowledge
	StartDelay  time.Duration // before anything listens
	ReadyDelay  time.Duration // /health answers 503 for so long after listening
	NeverReady  bool          // /health answers 500
	FailAfter   time.Duration // /health answers 500 after so long
	CrashAfter  time.Duration
	ExitCode    int // of a crash and of once
	Temper      temper
	AnswerDelay time.Duration // before each answer of the echo
	Status      int           // status of the echo's answers
	Record      string        // where each request is accounted: -, file:PATH, dir:PATH, tcp:HOST:PORT
	StopDelay   time.Duration // between SIGTERM and the first thing done about it

	QueueURL string        // worker: where jobs come from
	JobTime  time.Duration // worker: how long a job takes
	Jobs     int           // queue: how many jobs there are

	Data string // database: its folder

	CallURL      string // caller: what it calls
	CallInterval time.Duration

	Sleep   time.Duration // once: how long it runs
	RowFile string        // once: file it appends a row to
	Get     string        // once: URL that must answer 200
	Expect  string        // once: version that must have answered
	Repeat  int           // once: how many times
}

func parseSettings(args []string, getenv func(string) string) (settings, []string, error) {
	var s settings
	fs := flag.NewFlagSet("testprogram", flag.ContinueOnError)
	s.register(fs)
	if err := fromEnvironment(fs, getenv); err != nil {
		return s, nil, err
	}
	if err := fs.Parse(args); err != nil {
		return s, nil, err
	}
	if s.Instance == "" {
		host, _ := os.Hostname()
		s.Instance = cmp.Or(getenv("REMORA_INSTANCE"), host)
	}
	if !slices.Contains(tempers(), s.Temper) {
		return s, nil, fmt.Errorf("unknown temper %q, one of %v", s.Temper, tempers())
	}
	if s.AnswerDelay == 0 && s.Temper == slow {
		s.AnswerDelay = 5 * time.Second
	}
	roles := fs.Args()
	if len(roles) == 0 {
		roles = []string{"http"}
	}
	return s, roles, checkRoles(roles)
}

func checkRoles(roles []string) error {
	known := []string{"http", "tcp", "grpc", "worker", "queue", "timer", "database", "caller", "once"}
	for _, role := range roles {
		if !slices.Contains(known, role) {
			return fmt.Errorf("unknown role %q, some of %v", role, known)
		}
	}
	if slices.Contains(roles, "once") && len(roles) > 1 {
		return errors.New("once runs alone")
	}
	return nil
}

func (s *settings) register(fs *flag.FlagSet) {
	fs.StringVar(&s.Version, "version", "v0", "release that answers name")
	fs.StringVar(&s.Instance, "instance", "", "instance that answers name (default REMORA_INSTANCE, else the host name)")
	fs.StringVar(&s.HTTP, "http", ":8080", "listen address of HTTP")
	fs.StringVar(&s.TCPEcho, "tcp-echo", ":9000", "listen address of the echo")
	fs.StringVar(&s.TCPGreeting, "tcp-greeting", ":9001", "listen address of the echo that greets first")
	fs.StringVar(&s.GRPC, "grpc", ":9002", "listen address of gRPC")
	fs.DurationVar(&s.StartDelay, "start-delay", 0, "wait before listening")
	fs.DurationVar(&s.ReadyDelay, "ready-delay", 0, "wait before /health is good")
	fs.BoolVar(&s.NeverReady, "never-ready", false, "/health answers 500")
	fs.DurationVar(&s.FailAfter, "fail-after", 0, "/health answers 500 after this")
	fs.DurationVar(&s.CrashAfter, "crash-after", 0, "exit after this")
	fs.IntVar(&s.ExitCode, "exit-code", 0, "exit code of a crash and of once")
	fs.StringVar((*string)(&s.Temper), "temper", string(graceful), fmt.Sprintf("one of %v", tempers()))
	fs.DurationVar(&s.AnswerDelay, "answer-delay", 0, "wait before each answer (temper slow: 5s)")
	fs.DurationVar(&s.StopDelay, "stop-delay", 0, "wait between SIGTERM and stopping")
	fs.IntVar(&s.Status, "status", 200, "status of answers")
	fs.StringVar(&s.Record, "record", "", "account of requests: comma-separated -, file:PATH, dir:PATH, tcp:HOST:PORT")
	fs.StringVar(&s.QueueURL, "queue-url", "", "worker: URL of the queue")
	fs.DurationVar(&s.JobTime, "job-time", time.Millisecond, "worker: duration of a job")
	fs.IntVar(&s.Jobs, "jobs", 1000, "queue: number of jobs")
	fs.StringVar(&s.Data, "data", "/data", "database: folder")
	fs.StringVar(&s.CallURL, "call-url", "", "caller: URL")
	fs.DurationVar(&s.CallInterval, "call-interval", 10*time.Millisecond, "caller: pace")
	fs.DurationVar(&s.Sleep, "sleep", 0, "once: duration")
	fs.StringVar(&s.RowFile, "row-file", "", "once: file that gets a row")
	fs.StringVar(&s.Get, "get", "", "once: URL that must answer 200")
	fs.StringVar(&s.Expect, "expect", "", "once: version that must have answered")
	fs.IntVar(&s.Repeat, "repeat", 1, "once: number of requests")
}

// fromEnvironment sets each flag from its variable: start-delay from APP_START_DELAY.
func fromEnvironment(fs *flag.FlagSet, getenv func(string) string) error {
	var errs []error
	fs.VisitAll(func(f *flag.Flag) {
		name := "APP_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value := getenv(name)
		if value == "" {
			return
		}
		if err := fs.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("set %s=%q: %w", name, value, err))
		}
	})
	return errors.Join(errs...)
}
