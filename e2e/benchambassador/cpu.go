package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of /proc's times (USER_HZ, 100 on every Linux that Go
// runs on).
const clockTick = 10 * time.Millisecond

// usage is what a process and its descendants have cost so far.
type usage struct {
	cpu time.Duration
	rss int64 // bytes, now
}

// usageOf adds a process and its descendants up.
func usageOf(pid int) (usage, error) {
	var u usage
	for _, p := range tree(pid) {
		one, err := processUsage(p)
		if err != nil {
			return u, err
		}
		u.cpu += one.cpu
		u.rss += one.rss
	}
	return u, nil
}

func processUsage(pid int) (usage, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, fmt.Errorf("read the usage of process %d: %w", pid, err)
	}
	// The name in parentheses may hold anything; fields are counted after it.
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 22 {
		return usage{}, fmt.Errorf("read the usage of process %d: %q", pid, data)
	}
	ticks := int64(0)
	for _, i := range []int{11, 12} { // utime, stime (proc(5))
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return usage{}, fmt.Errorf("read the usage of process %d: %w", pid, err)
		}
		ticks += n
	}
	pages, err := strconv.ParseInt(fields[21], 10, 64)
	if err != nil {
		return usage{}, fmt.Errorf("read the usage of process %d: %w", pid, err)
	}
	return usage{cpu: time.Duration(ticks) * clockTick, rss: pages * int64(os.Getpagesize())}, nil
}

// tree is a process and all below it.
func tree(pid int) []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(data), ") ")
		fields := strings.Fields(rest)
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || len(fields) < 2 {
			continue
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			children[parent] = append(children[parent], child)
		}
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}
