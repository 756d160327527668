package load

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// calls is a gRPC client: one HTTP/2 connection with prior knowledge, unary
// calls on it one after the other. It reads and writes frames itself: Go's
// transport would repeat calls that a connection's end cut off.
type calls struct {
	wire
	framer *http2.Framer
	head   bytes.Buffer
	fields *hpack.Encoder
	stream uint32
	going  bool // the server will take no more calls
}

func newCalls(w wire) *calls {
	c := &calls{wire: w, framer: http2.NewFramer(w.conn, w.in), stream: 1}
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.fields = hpack.NewEncoder(&c.head)
	return c
}

func (c *calls) open(string) (string, error) {
	if _, err := io.WriteString(c.conn, http2.ClientPreface); err != nil {
		return "", fmt.Errorf("preface: %w", err)
	}
	return "", c.framer.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0})
}

// call is what came of one.
type call struct {
	id      string
	stream  uint32
	status  string // of HTTP
	code    string // of gRPC
	text    []byte
	version string
	ended   bool
}

func (c *calls) exchange(id string) (reply, error) {
	k := &call{id: id, stream: c.stream}
	c.stream += 2
	if err := c.send(k); err != nil {
		return reply{}, fmt.Errorf("write: %w", err)
	}
	for !k.ended {
		if err := c.frame(k); err != nil {
			return reply{version: k.version}, err
		}
	}
	return reply{version: k.version, closing: c.going}, k.judge()
}

func (c *calls) send(k *call) error {
	c.head.Reset()
	for _, f := range [][2]string{
		{":method", "POST"},
		{":scheme", "http"},
		{":authority", "load"},
		{":path", c.Path},
		{"content-type", "application/grpc"},
		{"te", "trailers"},
		{"x-request-id", k.id},
	} {
		if err := c.fields.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			return err
		}
	}
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: k.stream, BlockFragment: c.head.Bytes(), EndHeaders: true})
	return errors.Join(err, c.framer.WriteData(k.stream, true, message(k.id)))
}

// message has gRPC's prefix: not compressed, and how long.
func message(text string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text))), text...)
}

// frame reads one and obeys it.
func (c *calls) frame(k *call) error {
	f, err := c.framer.ReadFrame()
	if err != nil {
		if k.status != "" {
			return failf(Truncated, "call cut short: %w", err)
		}
		return fmt.Errorf("no answer: %w", err)
	}
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return c.framer.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return c.framer.WritePing(true, f.Data)
		}
	case *http2.GoAwayFrame:
		c.going = true
		if k.stream > f.LastStreamID {
			return failf(GoAway, "going away (%s), the call was not taken", f.ErrCode)
		}
	case *http2.DataFrame:
		return c.data(k, f)
	case *http2.MetaHeadersFrame:
		k.take(f)
	case *http2.RSTStreamFrame:
		if f.StreamID == k.stream {
			return failf(Cause(fmt.Sprintf("rst-%d", f.ErrCode)), "stream ended: %s", f.ErrCode)
		}
	}
	return nil
}

// data takes a part of the answer and gives the server room for as much.
func (c *calls) data(k *call, f *http2.DataFrame) error {
	if f.StreamID != k.stream {
		return failf(Wrong, "data of stream %d, asked on %d", f.StreamID, k.stream)
	}
	k.text = append(k.text, f.Data()...)
	k.ended = f.StreamEnded()
	if n := uint32(len(f.Data())); n > 0 {
		return c.framer.WriteWindowUpdate(0, n)
	}
	return nil
}

// take takes the head or the trailers.
func (k *call) take(f *http2.MetaHeadersFrame) {
	for _, h := range f.Fields {
		switch h.Name {
		case ":status":
			k.status = h.Value
		case "grpc-status":
			k.code = h.Value
		case "x-version":
			k.version = h.Value
		}
	}
	k.ended = f.StreamEnded()
}

func (k *call) judge() error {
	switch {
	case k.status != "200":
		n, _ := strconv.Atoi(k.status) // what is no number becomes 0
		return failf(Status(n), "status %q", k.status)
	case k.code != "0":
		return failf(Cause("grpc-"+k.code), "grpc-status %q", k.code)
	case !bytes.Equal(k.text, message(k.id)):
		return failf(Wrong, "answer to %s is %q", k.id, k.text)
	}
	return nil
}

// over reads what came between two calls.
func (c *calls) over() (bool, error) {
	for {
		n, err := c.pending()
		switch {
		case err != nil:
			return true, fmt.Errorf("ended while idle: %w", err)
		case n == 0:
			return false, nil
		}
		if err := c.frame(&call{}); err != nil {
			return true, err
		}
		if c.going {
			return true, failf(GoAway, "%w: going away", errClosedCleanly)
		}
	}
}
