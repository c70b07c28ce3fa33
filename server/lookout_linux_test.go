package server

import (
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// told waits for what a lookout says next.
func told(t *testing.T, seen chan uint64) uint64 {
	t.Helper()
	select {
	case key := <-seen:
		return key
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was told")
		return 0
	}
}

func TestALookoutTellsWhichPeerSpeaksAndWhichLeaves(t *testing.T) {
	seen := make(chan uint64, 10)
	l, err := newLookout(func(key uint64) { seen <- key })
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	const first, second = 1<<40 + 1, 1<<63 + 2 // keys of all sizes
	leave := make(chan struct{})
	speaks := socket(t, func(c io.Reader) {
		c.(net.Conn).Write([]byte("hello"))
		<-leave
	})
	leaves := socket(t, func(io.Reader) {})
	if err := l.watch(speaks, first); err != nil {
		t.Fatal(err)
	}
	if got := told(t, seen); got != first {
		t.Fatalf("got key %x, want %x, which speaks", got, uint64(first))
	}
	buf := make([]byte, 64)
	if n, err := readNow(speaks, buf); n != 5 || err != nil {
		t.Errorf("got %d, %v, want what it said", n, err)
	}
	if n, err := readNow(speaks, buf); n != 0 || err != nil {
		t.Errorf("got %d, %v, want nothing, at once", n, err)
	}
	if err := l.watch(leaves, second); err != nil {
		t.Fatal(err)
	}
	if got := told(t, seen); got != second {
		t.Fatalf("got key %x, want %x, which leaves", got, uint64(second))
	}
	if n, err := readNow(leaves, buf); n != 0 || err != io.EOF {
		t.Errorf("got %d, %v, want the end", n, err)
	}
	close(leave) // it is not told before it is armed anew
	if err := l.watchAgain(speaks, first); err != nil {
		t.Fatal(err)
	}
	if got := told(t, seen); got != first {
		t.Errorf("got key %x, want %x, which leaves too", got, uint64(first))
	}
}

func TestALookoutTakesNoConnectionWithoutASocketNorAfterItsEnd(t *testing.T) {
	l, err := newLookout(func(uint64) {})
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	defer theirs.Close()
	defer ours.Close()
	if l.watch(ours, 1) == nil {
		t.Error("got nil for a pipe, want to be told that it cannot be watched")
	}
	l.close()
	l.close()
	if l.watch(socket(t, func(io.Reader) {}), 2) == nil {
		t.Error("got nil from a lookout that is closed")
	}
}

// without leaves this process no descriptor more than it has.
func without(t *testing.T, f func()) {
	t.Helper()
	var usual syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &usual); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 1, Max: usual.Max}); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &usual)
	f()
}

func TestAWantOfDescriptorsDoesNotKeepStreamsFromALookoutForEver(t *testing.T) {
	var c connPeers
	defer c.cut()
	leave := make(chan struct{})
	defer close(leave)
	first, second := socket(t, func(io.Reader) { <-leave }), socket(t, func(io.Reader) { <-leave })
	without(t, func() {
		if c.taken(new(connPeer), first) != nil {
			t.Error("got a lookout, want none without a descriptor")
		}
	})
	if c.taken(new(connPeer), second) == nil {
		t.Error("got no lookout for the next stream")
	}
}
