package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// result is what a load did: requests, connections, or MiB.
type result struct {
	Done   float64 `json:"done"`
	Failed int64   `json:"failed"`
}

// loadMain is the client for what neither wrk nor h2load does.
func loadMain(args []string) error {
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	kind := f.String("kind", "", "pingpong, bulk, connect or idle")
	addr := f.String("addr", "", "address")
	conns := f.Int("conns", 64, "connections at once")
	length := f.Duration("for", time.Second, "how long")
	if err := f.Parse(args); err != nil {
		return err
	}
	run := map[string]func(*client){"pingpong": (*client).pingpong, "bulk": (*client).bulk, "connect": (*client).connect}[*kind]
	if *kind == "idle" {
		return idle(*addr, *conns)
	}
	if run == nil {
		return fmt.Errorf("no kind %q", *kind)
	}
	c := &client{addr: *addr, end: time.Now().Add(*length)}
	var wg sync.WaitGroup
	for range *conns {
		wg.Go(func() { run(c) })
	}
	wg.Wait()
	return json.NewEncoder(os.Stdout).Encode(result{Done: float64(c.done.Load()) / c.unit(*kind), Failed: c.failed.Load()})
}

type client struct {
	addr         string
	end          time.Time
	done, failed atomic.Int64
}

func (c *client) unit(kind string) float64 {
	if kind == "bulk" {
		return 1 << 20
	}
	return 1
}

func (c *client) over() bool { return time.Now().After(c.end) }

func (c *client) dial() net.Conn {
	conn, err := net.Dial("tcp", c.addr)
	if err != nil {
		c.failed.Add(1)
		return nil
	}
	_ = conn.SetDeadline(c.end.Add(5 * time.Second))
	return conn
}

// pingpong sends 64 bytes and waits for them to come back.
func (c *client) pingpong() {
	conn := c.dial()
	if conn == nil {
		return
	}
	defer conn.Close()
	var buf [64]byte
	for !c.over() {
		if !exchange(conn, buf[:]) {
			c.failed.Add(1)
			return
		}
		c.done.Add(1)
	}
}

func exchange(conn net.Conn, buf []byte) bool {
	if _, err := conn.Write(buf); err != nil {
		return false
	}
	_, err := io.ReadFull(conn, buf)
	return err == nil
}

// bulk reads as fast as it can.
func (c *client) bulk() {
	conn := c.dial()
	if conn == nil {
		return
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("x")); err != nil {
		c.failed.Add(1)
		return
	}
	buf := make([]byte, 256<<10)
	for !c.over() {
		n, err := conn.Read(buf)
		c.done.Add(int64(n))
		if err != nil {
			c.failed.Add(1)
			return
		}
	}
}

// connect opens a connection, has 64 bytes come back, and closes it.
func (c *client) connect() {
	var buf [64]byte
	for !c.over() {
		conn := c.dial()
		if conn == nil {
			continue
		}
		if exchange(conn, buf[:]) {
			c.done.Add(1)
		} else {
			c.failed.Add(1)
		}
		_ = conn.(*net.TCPConn).SetLinger(0) // leaves no port in TIME_WAIT
		_ = conn.Close()
	}
}

// idle opens connections that ask for one small answer each and then rest,
// says so, and keeps them until its input ends.
func idle(addr string, conns int) error {
	const request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
	buf := make([]byte, 4<<10)
	for i := range conns {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		defer c.Close() // all of them rest until the end
		if _, err := io.WriteString(c, request); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		if _, err := c.Read(buf); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
	}
	fmt.Println("resting")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}
