package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// exitTwoWriters is the exit code of a database whose folder another live
// process writes.
const exitTwoWriters = 42

// openDatabase is a program that must be alone on its folder: it holds a lock
// on it as long as it lives, paused or not. A second one writes down that it
// was started, in `two-writers`, and exits.
//
//	POST /rows   appends the body as a row, synced before the answer
//	GET  /rows   all rows
func (p *program) openDatabase() error {
	lock, err := os.OpenFile(filepath.Join(p.Data, "lock"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		who := fmt.Sprintf("%s %s", p.Version, p.Instance)
		_ = appendRow(filepath.Join(p.Data, "two-writers"), who)
		return &exitError{exitTwoWriters, "another live process writes " + p.Data}
	}
	p.kept = append(p.kept, lock) // the lock goes with the process, never earlier
	rows := filepath.Join(p.Data, "rows")
	if err := appendRow(rows, fmt.Sprintf("start %s %s", p.Version, p.Instance)); err != nil {
		return err
	}
	p.mux.HandleFunc("POST /rows", func(w http.ResponseWriter, r *http.Request) {
		p.addRow(w, r, rows)
	})
	p.mux.HandleFunc("GET /rows", func(w http.ResponseWriter, _ *http.Request) {
		listRows(w, rows)
	})
	return nil
}

func (p *program) addRow(w http.ResponseWriter, r *http.Request, rows string) {
	id := p.note(r)
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err == nil {
		err = appendRow(rows, strings.TrimSpace(fmt.Sprintf("row %s %s %s", p.Version, id, body)))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, http.StatusOK, map[string]any{"id": id, "version": p.Version, "instance": p.Instance})
}

func listRows(w http.ResponseWriter, path string) {
	rows, err := readRows(path)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, http.StatusOK, rows)
}
