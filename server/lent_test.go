package server

import (
	"errors"
	"testing"
)

// keepingPeer fails every write, and goes on reading what it was given.
type keepingPeer struct{ kept []byte }

func (p *keepingPeer) write(out []byte) error {
	p.kept = out
	return errors.New("the stream was reset")
}

func (p *keepingPeer) end(bool) {}

func TestABufferThatAFailedWriteMayStillReadIsNotLentAgain(t *testing.T) {
	s, p := new(Server), new(keepingPeer)
	for range 100 { // a pool may forget what it was given
		st := &stream{server: s, peer: p}
		out := append(st.room(), "for one peer"...)
		st.keep(out)
		if st.write(out) == nil {
			t.Fatal("got nil, want the failure")
		}
		st.giveBack()
		other := &stream{server: s, peer: p}
		other.keep(append(other.room(), "for another!"...))
		if got := string(p.kept); got != "for one peer" {
			t.Fatalf("got %q in what the first peer still reads", got)
		}
	}
}
