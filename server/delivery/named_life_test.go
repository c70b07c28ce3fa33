package delivery

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// TestANamedConsumerKeepsItsWordWhateverHappens leads lives of one consumer from
// seeds: events come, connections come and go, take, lease, acknowledge, refuse,
// and say nothing; the journal fails; the server is killed. What was answered to
// an acknowledgement is never delivered again, and in the end every event was
// acknowledged or is a dead letter.
func TestANamedConsumerKeepsItsWordWhateverHappens(t *testing.T) {
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 9))
		ack := AckSpec{Redelivery: time.Duration(1+rng.IntN(20)) * time.Second, Attempts: rng.IntN(5), Inflight: 1 + rng.IntN(12)}
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			withNamed(t, ack, func(t *testing.T, n *named) {
				l := &namedLife{named: n, t: t, rng: rng, settled: make(map[uint64]string)}
				for range 150 {
					l.step()
				}
				l.end()
			})
		})
		if !ok {
			return
		}
	}
}

type namedLife struct {
	*named
	t       *testing.T
	rng     *rand.Rand
	members []*Member
	out     []uint64          // delivered, perhaps settled
	settled map[uint64]string // what was answered
	events  int
}

func (l *namedLife) step() {
	switch l.rng.IntN(12) {
	case 0, 1:
		for range 1 + l.rng.IntN(5) {
			l.m.publish([]string{"a.x", "a.x", "a.y"}[l.rng.IntN(3)])
			l.events++
		}
	case 2:
		if len(l.members) < 4 {
			l.members = append(l.members, l.join(MemberSpec{Limit: l.rng.IntN(4), Until: l.rng.IntN(3) == 0, Lease: l.rng.IntN(3) == 0}))
		}
	case 3:
		l.leave()
	case 4, 5, 6:
		if len(l.members) > 0 {
			l.take(l.members[l.rng.IntN(len(l.members))])
		}
	case 7, 8:
		l.say(Verdict{}, l.rng.IntN(6) == 0)
	case 9:
		l.crowd()
	case 10:
		time.Sleep(time.Duration(l.rng.IntN(15)) * time.Second)
	default:
		l.misfortune()
	}
}

func (l *namedLife) misfortune() {
	switch l.rng.IntN(6) {
	case 0:
		l.kill()
		for _, m := range l.members { // of the old server: nobody hears of it
			m.Close()
		}
		l.members = nil
	case 1:
		l.book.failed = errors.New("the disk is gone")
	case 2:
		l.book.lost = errors.New("no room for dead letters")
	default:
		l.book.failed, l.book.lost = nil, nil
	}
}

func (l *namedLife) leave() {
	if len(l.members) == 0 {
		return
	}
	i := l.rng.IntN(len(l.members))
	if l.rng.IntN(3) == 0 {
		l.members[i].Break(l.rng.IntN(2) == 0)
	}
	l.members[i].Close()
	l.members = append(l.members[:i], l.members[i+1:]...)
}

// take polls, and holds what comes to what was answered.
func (l *namedLife) take(m *Member) (n int) {
	chunk, _, err := m.Poll()
	if err != nil && !errors.Is(err, io.EOF) {
		l.t.Fatalf("poll: %v", err)
	}
	for _, d := range chunk.Deliveries {
		if how := l.settled[d.Event.Index]; how != "" {
			l.t.Fatalf("event %d is delivered at attempt %d, and was answered with %s", d.Event.Index, d.Attempt, how)
		}
		if d.Event.Subject != "a.x" {
			l.t.Fatalf("got %s", d.Event.Subject)
		}
		l.out = append(l.out, d.Event.Index)
	}
	synctest.Wait()
	l.buried()
	return len(chunk.Deliveries)
}

// buried notes what has become a dead letter. One may be kept twice, and may be
// delivered again, when the journal failed behind it.
func (l *namedLife) buried() {
	if l.book.failed != nil {
		return
	}
	for _, d := range l.book.dead {
		p := l.book.at["billing"]
		if p == nil {
			continue
		}
		if _, owed := p.owes(d.Event.Index); !owed {
			l.settled[d.Event.Index] = "a dead letter"
		}
	}
}

func (l *namedLife) say(v Verdict, upTo bool) {
	if len(l.out) == 0 {
		return
	}
	index := l.out[l.rng.IntN(len(l.out))]
	settled, err := l.c.Settle([]string{eventID("a", index)}, v, upTo)
	l.heard(v, settled, err)
	synctest.Wait()
}

// crowd has several verdicts under way at once, while the journal takes its time
// and connections leave and come.
func (l *namedLife) crowd() {
	release := l.book.delay()
	var all []func()
	for range 1 + l.rng.IntN(5) {
		if len(l.out) == 0 {
			break
		}
		var settled []Settled
		var err error
		id, v := eventID("a", l.out[l.rng.IntN(len(l.out))]), Verdict{Kind: Kind(l.rng.IntN(4))}
		if l.rng.IntN(2) == 0 {
			v.Kind = Ack
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			settled, err = l.c.Settle([]string{id}, v, false)
		}()
		all = append(all, func() { <-done; l.heard(v, settled, err) })
		synctest.Wait()
		if l.rng.IntN(3) == 0 {
			l.leave()
		}
		if len(l.members) > 0 && l.rng.IntN(3) == 0 {
			l.take(l.members[0])
		}
	}
	release()
	for _, hear := range all {
		hear()
	}
	synctest.Wait()
}

// heard notes what was answered.
func (l *namedLife) heard(v Verdict, settled []Settled, err error) {
	if err != nil || v.Kind != Ack && v.Kind != Term {
		return
	}
	for _, s := range settled {
		if s.Event != nil {
			l.settled[s.Event.Index] = fmt.Sprintf("verdict %d", v.Kind)
		}
	}
}

// end lets a good connection take all there is.
func (l *namedLife) end() {
	l.book.failed, l.book.lost = nil, nil
	for len(l.members) > 0 {
		l.leave()
	}
	if l.rng.IntN(2) == 0 {
		l.kill()
	}
	m := l.join(MemberSpec{})
	for deadline := time.Now().Add(26 * time.Hour); time.Now().Before(deadline); {
		before := len(l.out)
		if l.take(m) == 0 {
			time.Sleep(time.Second + time.Duration(l.rng.IntN(5))*time.Minute)
			continue
		}
		for _, index := range l.out[before:] {
			if _, err := l.c.Settle([]string{eventID("a", index)}, Verdict{}, false); err != nil {
				l.t.Fatalf("ack of %d: %v", index, err)
			}
			l.settled[index] = "an ack"
		}
	}
	m.Close()
	for _, e := range l.m.logs["a"].events {
		if e.Subject == "a.x" && l.settled[e.Index] == "" {
			l.t.Fatalf("event %d was never settled; the consumer is at %+v, %+v", e.Index, l.c.progressNow(), l.c.State())
		}
	}
	if state := l.c.State(); state.Unacked != 0 || state.Behind != 0 {
		l.t.Fatalf("got %+v at the end, want nothing left", state)
	}
}

func (c *Consumer) progressNow() Progress {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.progress()
}
