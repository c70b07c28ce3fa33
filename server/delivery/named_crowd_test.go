package delivery

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/bus"
)

// crowdDone counts what was answered, by index.
type crowdDone struct {
	mu    sync.Mutex
	acked map[uint64]bool
}

func (d *crowdDone) add(settled []Settled) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range settled {
		d.acked[s.Event.Index] = true
	}
}

func (d *crowdDone) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.acked)
}

// TestTwoHundredConnectionsOfOneNameComeAndGoUnderLoad runs in real time, on real
// goroutines: connections join, take, acknowledge, refuse and leave, while the
// consumer is changed, paused, asked and moved to where it is.
func TestTwoHundredConnectionsOfOneNameComeAndGoUnderLoad(t *testing.T) {
	const connections, events = 200, 4000
	m, b := newMemory("a"), newBook()
	h := NewHub(m, []string{"a"}, Options{Lookup: m.lookup, Journal: b, Bury: b.bury})
	c, err := h.Declare(ConsumerSpec{Namespace: "a", Name: "billing", Patterns: patterns(t, "a.x"), Ack: AckSpec{Redelivery: 200 * time.Millisecond, Inflight: 300}}, Progress{Next: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := &crowdDone{acked: make(map[uint64]bool)}
	var all, meddling sync.WaitGroup
	var quiet atomic.Bool
	for i := range connections {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 7))
			for (done.count() < events || c.State().Floor < events) && ctx.Err() == nil {
				crowdConnection(ctx, t, c, rng, done, quiet.Load)
			}
		})
	}
	for i := range 3 {
		meddling.Go(func() {
			meddle(ctx, t, c, rand.New(rand.NewPCG(uint64(i), 8)), func() bool { return done.count() > events/2 })
		})
	}
	for range events / 10 {
		publishMany(m, 10, "a.x")
	}
	meddling.Wait()
	c.Pause(false)
	quiet.Store(true)
	all.Wait()
	if ctx.Err() != nil {
		t.Fatalf("%d of %d events were acknowledged within a minute; %+v", done.count(), events, c.State())
	}
	if state := c.State(); state.Connections != 0 || state.Floor < events {
		t.Errorf("got %+v, want nobody connected and all settled", state)
	}
	h.Close()
	if m.readers != 0 {
		t.Errorf("got %d readers open at the end, want 0", m.readers)
	}
	if kept := b.at["billing"]; kept.Floor() > events+1 || len(kept.Open) > 0 {
		t.Errorf("got %+v in the journal", kept)
	}
}

// crowdConnection is one connection from its join to its leaving.
func crowdConnection(ctx context.Context, t *testing.T, c *Consumer, rng *rand.Rand, done *crowdDone, quiet func() bool) {
	m, err := c.Join(MemberSpec{Lease: rng.IntN(8) == 0})
	if err != nil {
		t.Errorf("Join: %v", err)
		return
	}
	defer m.Close()
	for range 1 + rng.IntN(6) {
		wait, stop := context.WithTimeout(ctx, 100*time.Millisecond)
		chunk, err := m.Next(wait)
		stop()
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Next: %v", err)
			return
		}
		for _, d := range chunk.Deliveries {
			v := Verdict{}
			if n := rng.IntN(10); n < 3 && !quiet() {
				v = Verdict{Kind: []Kind{Nak, Wip, Nak}[n]}
			}
			settled, err := c.Settle([]string{d.Event.Id}, v, false)
			if err != nil && !errors.Is(err, bus.ErrNotDelivered) { // as after a reset
				t.Errorf("Settle: %v", err)
			}
			if v.Kind == Ack {
				done.add(settled)
			}
		}
	}
}

// meddle does what a person may do meanwhile.
func meddle(ctx context.Context, t *testing.T, c *Consumer, rng *rand.Rand, enough func() bool) {
	for !enough() && ctx.Err() == nil {
		switch rng.IntN(5) {
		case 0:
			if err := c.Change(AckSpec{Redelivery: time.Duration(100+rng.IntN(200)) * time.Millisecond, Inflight: 1 + rng.IntN(400)}); err != nil {
				t.Errorf("Change: %v", err)
			}
		case 1:
			c.Pause(true)
			c.State()
			c.Pause(false)
		case 2:
			if err := c.Reset(Progress{Next: max(c.State().Floor, 1)}); err != nil { // a little is delivered again
				t.Errorf("Reset: %v", err)
			}
		case 3:
			if floor := c.State().Floor; floor > 0 {
				if err := c.Reopen(floor); err != nil {
					t.Errorf("Reopen: %v", err)
				}
			}
		default:
			c.IdleFor()
			c.Spec()
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(rng.IntN(20)) * time.Millisecond):
		}
	}
}
