package ambassador

import (
	"io"
	"net"
	"testing"
	"time"
)

// A connection that its server has ended is not taken for another call, even
// when nobody has read the end yet.
func TestSharedConnectionThatEndedIsOver(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{TCPConn: c.(*net.TCPConn)}
	if _, err := io.WriteString(server, "the last words, unread"); err != nil {
		t.Fatal(err)
	}
	if w.over() {
		t.Error("a connection that stands is over")
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); !w.over(); {
		if time.Now().After(end) {
			t.Fatal("a connection that its server closed is not over")
		}
	}
}
