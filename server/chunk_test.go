package server

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strings"
	"sync"
	"testing"
)

// socket is both ends of a connection over loopback; what arrives is read and
// thrown away unless read is given.
func socket(tb testing.TB, read func(io.Reader)) net.Conn {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return
		}
		defer c.Close()
		read(c)
	}()
	c, err := l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close(); <-done })
	return c
}

func discard(r io.Reader) { io.Copy(io.Discard, r) }

func TestChunksOfEverySizeArriveAsTheyWere(t *testing.T) {
	arrived := make(chan string, 1)
	c := socket(t, func(r io.Reader) {
		all, err := io.ReadAll(httputil.NewChunkedReader(r))
		arrived <- fmt.Sprintf("%s%v", all, err)
	})
	var want strings.Builder
	var kept sync.Pool
	for _, n := range []int{1, 9, 10, 15, 16, 255, chunkCopied - 1, chunkCopied, chunkCopied + 1, 64 << 10, 1 << 20} {
		out := bytes.Repeat([]byte{byte('a' + n%26)}, n)
		if err := writeChunk(&kept, c, out); err != nil {
			t.Fatal(err)
		}
		want.Write(out)
	}
	if _, err := c.Write(lastChunk); err != nil {
		t.Fatal(err)
	}
	if got := <-arrived; got != want.String()+"<nil>" {
		t.Errorf("got %d bytes, want the %d that were sent and a clean end", len(got), want.Len())
	}
}

func TestWritingAChunkAllocatesNothing(t *testing.T) {
	for _, n := range []int{300, 64 << 10} {
		p := &connPeer{owner: &connPeers{}, conn: &gateConn{Conn: socket(t, discard)}, chunked: true, timeout: 1 << 40}
		out := make([]byte, n)
		got := testing.AllocsPerRun(200, func() {
			if err := p.write(out); err != nil {
				t.Fatal(err)
			}
		})
		if got != 0 {
			t.Errorf("a chunk of %d bytes: got %v allocations, want none", n, got)
		}
	}
}

// What a write costs: one event, and what has gathered while many were published.
func BenchmarkStreamWrite(b *testing.B) {
	for _, n := range []int{300, 4 << 10, 30 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("%dB", n), func(b *testing.B) {
			p := &connPeer{owner: &connPeers{}, conn: &gateConn{Conn: socket(b, discard)}, chunked: true, timeout: 1 << 40}
			out := make([]byte, n)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				if err := p.write(out); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
