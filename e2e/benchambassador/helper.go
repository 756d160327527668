package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
)

// The program runs itself again as its backends and clients, so that each can
// have a core and be a process of its own.

// helperMain runs one of them; false is no such name.
func helperMain(name string, args []string) bool {
	run := map[string]func([]string) error{"backend": backend, "httputil": reverseProxy, "syslog": syslog, "load": loadMain}[name]
	if run == nil {
		return false
	}
	if err := run(args); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	return true
}

// The sizes of the HTTP backend's answers.
const (
	smallSize = 62
	largeSize = 1 << 20
)

func answer(size int) []byte {
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nServer: backend\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", size)
	return append([]byte(head), bytes.Repeat([]byte("x"), size)...)
}

// backend is an HTTP server, an echo and a source of bytes at three ports.
func backend(args []string) error {
	errs := make(chan error)
	w := &web{small: answer(smallSize), large: answer(largeSize)}
	for i, handle := range []func(net.Conn){w.serve, echo, pour} {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", args[i]))
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					errs <- err
					return
				}
				go func() {
					defer c.Close()
					handle(c)
				}()
			}
		}()
	}
	return <-errs
}

// web is the HTTP backend and its two answers.
type web struct{ small, large []byte }

// serve knows as much of HTTP as the bench's own requests need.
func (b *web) serve(c net.Conn) {
	r := bufio.NewReaderSize(c, 16<<10)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		out := b.small
		if bytes.Contains(line, []byte(" /large")) {
			out = b.large
		}
		length := 0
		for len(line) > 2 {
			if line, err = r.ReadSlice('\n'); err != nil {
				return
			}
			if len(line) > 16 && (line[0]|0x20) == 'c' && bytes.EqualFold(line[:15], []byte("content-length:")) {
				length, _ = strconv.Atoi(string(bytes.TrimSpace(line[15:])))
			}
		}
		if _, err := r.Discard(length); err != nil {
			return
		}
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

func echo(c net.Conn) {
	buf := make([]byte, 16<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

// pour sends bytes for as long as the client takes them.
func pour(c net.Conn) {
	buf := make([]byte, 256<<10)
	for {
		if _, err := c.Write(buf); err != nil {
			return
		}
	}
}

// reverseProxy is the standard library's proxy with an access log.
func reverseProxy(args []string) error {
	port, backend, dir := args[0], args[1], args[2]
	f, err := os.Create(dir + "/access.log")
	if err != nil {
		return err
	}
	access := bufio.NewWriterSize(f, 64<<10)
	lines := slog.New(slog.NewTextHandler(access, nil))
	target := &url.URL{Scheme: "http", Host: "127.0.0.1:" + backend}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target); r.SetXForwarded() },
		Transport: &http.Transport{MaxIdleConnsPerHost: 512, DisableCompression: true},
	}
	return http.ListenAndServe("127.0.0.1:"+port, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxy.ServeHTTP(w, r)
		lines.Info("served", "client", r.RemoteAddr, "method", r.Method, "url", r.RequestURI)
	}))
}

// syslog takes datagrams at a unix socket and writes them to a file, as the
// machine's log daemon does.
func syslog(args []string) error {
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: args[0], Net: "unixgram"})
	if err != nil {
		return err
	}
	if err := c.SetReadBuffer(4 << 20); err != nil {
		return err
	}
	f, err := os.Create(args[1])
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 256<<10)
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, string(buf[:n])+"\n"); err != nil {
			return err
		}
	}
}
