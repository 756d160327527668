package tunnel

import (
	"crypto/tls"
	"net"
)

// end is one side of a tunnel: a socket and perhaps TLS over it.
type end struct {
	tcp *net.TCPConn
	tls *tls.Conn
}

func (e end) Read(b []byte) (int, error) {
	if e.tls != nil {
		return e.tls.Read(b)
	}
	return e.tcp.Read(b)
}

func (e end) Write(b []byte) (int, error) {
	if e.tls != nil {
		return e.tls.Write(b)
	}
	return e.tcp.Write(b)
}

// CloseWrite tells the peer that no more comes.
func (e end) CloseWrite() error {
	if e.tls != nil {
		_ = e.tls.CloseWrite() // the FIN says the same
	}
	return e.tcp.CloseWrite()
}
