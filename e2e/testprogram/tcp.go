package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
)

// listenTCP serves an echo by lines. With greet the server speaks first:
// "hello <version> <instance>". A line "id <x>" is entered in the account; the
// line "peer" is answered by who the connection comes from.
func (p *program) listenTCP(ctx context.Context, addr string, greet bool) error {
	if addr == "off" {
		return nil
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Printf("listen tcp=%s greet=%t version=%s\n", listener.Addr(), greet, p.Version)
	var conns sync.WaitGroup
	p.background(func() error {
		defer conns.Wait()
		for {
			conn, err := listener.Accept()
			if err != nil {
				return nil // closed: the program stops
			}
			conns.Go(func() { p.echoLines(ctx, conn, greet) })
		}
	})
	p.background(func() error {
		<-ctx.Done()
		return listener.Close()
	})
	return nil
}

func (p *program) echoLines(ctx context.Context, conn net.Conn, greet bool) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if greet {
		fmt.Fprintf(conn, "hello %s %s\n", p.Version, p.Instance)
	}
	lines := bufio.NewReader(conn)
	for {
		line, err := lines.ReadString('\n')
		if id, ok := strings.CutPrefix(strings.TrimSpace(line), "id "); ok {
			p.account.Note("TCP", id, "line")
		}
		if strings.TrimSpace(line) == "peer" {
			line = conn.RemoteAddr().String() + "\n"
		}
		if _, werr := conn.Write([]byte(line)); err != nil || werr != nil {
			return
		}
	}
}
