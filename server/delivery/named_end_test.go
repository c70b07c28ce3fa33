package delivery

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
)

func TestNoNoteComesBehindTheOneThatDeletesAConsumer(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Hour}, func(t *testing.T, n *named) {
		n.m.publish("a.x", "a.x")
		m := n.join(MemberSpec{})
		defer m.Close()
		wantChunk(t, m, "a.x 1(1)\na.x 2(1)\n")
		release := n.book.delay()
		answered, ended := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := n.c.Settle([]string{eventID("a", 1)}, Verdict{}, false)
			answered <- err
		}()
		synctest.Wait()
		notes := 0
		go func() {
			ended <- n.h.Forget(n.c, bus.ErrUnknownConsumer, func() error { notes = n.book.notes; return nil })
		}()
		synctest.Wait()
		if _, err := n.c.Settle([]string{eventID("a", 2)}, Verdict{}, false); !errors.Is(err, bus.ErrUnknownConsumer) {
			t.Errorf("an ack behind the end: got %v, want %v", err, bus.ErrUnknownConsumer)
		}
		release()
		if err := errors.Join(<-answered, <-ended); err != nil {
			t.Fatal(err)
		}
		if notes != 1 || n.book.notes != 1 {
			t.Fatalf("got %d notes when it was deleted and %d in the end, want 1 before and none behind", notes, n.book.notes)
		}
	})
}

// A lock that is not a channel would stop the time of the bubble here.
func TestWhoTakesOrLeavesIsIdleWhileTheEndOfItsConsumerWaitsForADisk(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Hour}, func(t *testing.T, n *named) {
		n.m.publish("a.x")
		taking, leaving := n.join(MemberSpec{}), n.join(MemberSpec{})
		defer taking.Close()
		wantChunk(t, taking, "a.x 1(1)\n")
		deleted, taken, left := make(chan error, 1), make(chan error, 1), make(chan struct{})
		go func() {
			deleted <- n.h.Forget(n.c, bus.ErrUnknownConsumer, func() error { time.Sleep(time.Second); return nil })
		}()
		synctest.Wait()
		go func() { _, err := taking.Next(t.Context()); taken <- err }()
		go func() { leaving.Close(); close(left) }()
		<-left
		if err := <-deleted; err != nil {
			t.Fatal(err)
		}
		if err := <-taken; !errors.Is(err, bus.ErrUnknownConsumer) {
			t.Fatalf("got %v, want %v", err, bus.ErrUnknownConsumer)
		}
	})
}

func TestAConsumerThatCannotBeDeletedGoesOn(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Hour}, func(t *testing.T, n *named) {
		n.m.publish("a.x")
		full := errors.New("no room")
		if err := n.h.Forget(n.c, bus.ErrUnknownConsumer, func() error { return full }); !errors.Is(err, full) {
			t.Fatalf("got %v, want %v", err, full)
		}
		m := n.join(MemberSpec{})
		defer m.Close()
		wantChunk(t, m, "a.x 1(1)\n")
		n.settle(Verdict{}, false, 1)
	})
}
