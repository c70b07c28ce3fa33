package delivery

import (
	"io"
	"time"
)

// take is a member's Poll. Members take in turns, so the stream has one goroutine
// at a time, as it wants.
func (c *Consumer) take(m *Member) (chunk Chunk, idle bool, due time.Time, err error) {
	c.turn.Lock()
	defer c.turn.Unlock()
	c.queue.leave(m)
	c.mu.Lock()
	s, end, paused := c.stream, c.end, c.paused
	c.mu.Unlock()
	switch {
	case m.closed.Load():
		return Chunk{}, false, due, ErrClosed
	case end != nil:
		return Chunk{}, false, due, end
	case paused && s.ended(m) != nil:
		return Chunk{}, false, due, io.EOF
	case paused:
		return Chunk{}, c.queue.rest(m, due), due, nil
	}
	s.lend(m)
	chunk, idle, err = s.collect()
	due, next, starved, over := s.takeBack(m)
	if !chunk.Empty() || !due.Equal(next) { // else it is there itself
		c.queue.arm(next)
	}
	c.tell(&chunk)
	if err != nil {
		c.queue.all() // it ends for everybody
		return chunk, false, time.Time{}, err
	}
	if !chunk.Empty() {
		if !idle || starved {
			c.queue.wake() // there may be more, for somebody else
		}
		return chunk, false, time.Time{}, nil
	}
	late := !due.IsZero() && !due.After(time.Now())
	if !idle || late {
		return chunk, false, time.Time{}, nil
	}
	if over != nil {
		return chunk, false, time.Time{}, over
	}
	return chunk, c.queue.rest(m, due), due, nil
}

// lend has the stream count what it gives towards a member.
func (s *Stream) lend(m *Member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taker = m
}

// takeBack ends that. due is when the member has to come again without being
// called, next when somebody has to, starved says that there was more than it
// could have, and over is io.EOF when it has had all that it came for.
func (s *Stream) takeBack(m *Member) (due, next time.Time, starved bool, over error) {
	delivered := s.cursors[0].feed.delivered.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taker = nil
	next, _ = s.flights.due()
	if m.isFull() {
		s.flights.expire(m, time.Now())
	}
	if due = next; m.isFull() { // also after that: it may have had all that it came for
		due = s.flights.dueOf(m) // what is due of others is theirs
	}
	return due, next, s.starved, m.over(s.cursors[0].position(delivered), s.flights.full())
}

// ended returns io.EOF when a bounded member need not wait for what is paused.
func (s *Stream) ended(m *Member) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return m.over(0, true)
}

// tell counts what a chunk says. Its dead letters are none before they are kept.
func (c *Consumer) tell(chunk *Chunk) {
	again := uint64(0)
	for _, d := range chunk.Deliveries {
		if d.Attempt > 1 {
			again++
		}
	}
	c.mu.Lock()
	c.count.redelivered += again
	c.mu.Unlock()
	chunk.Dead = nil // its stream has seen to it
}

// part takes a member out. What it leaves goes to the others at once; when there
// are none, the place is noted and the stream let go.
func (c *Consumer) part(m *Member, how told) {
	c.turn.Lock()
	defer c.turn.Unlock()
	c.queue.leave(m)
	c.hub.discharge(m)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.members, m)
	if c.stream == nil {
		return
	}
	c.stream.release(m, how)
	if len(c.members) == 0 {
		c.sleep()
		c.count.left = time.Now()
		return
	}
	c.share()
	c.queue.wake()
}

// sleep lets the stream go, and keeps what it stood for. The caller holds c.turn
// and c.mu.
func (c *Consumer) sleep() {
	c.at = c.stream.progress()
	c.stream.eachDying(func(index uint64) { c.dying[index] = struct{}{} })
	c.stream.Close()
	c.stream = nil
}

// release takes from a member what it has. What is leased and was told stays out,
// as does what is being acknowledged: who says so often leaves at once. All else
// may go out again now.
func (s *Stream) release(m *Member, how told) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for fl := s.cursors[0].unacked.first; fl != nil; fl = fl.next {
		if fl.owner != m {
			continue
		}
		fl.give(nil)
		if m.lease && how == wasTold || fl.noted {
			continue
		}
		if how == wasUnseen {
			fl.attempt = max(fl.attempt-fl.times, 0)
		}
		s.flights.reschedule(fl, now)
	}
}

// progress is where a named consumer's stream stands.
func (s *Stream) progress() (p Progress) {
	delivered := s.cursors[0].feed.delivered.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.standing(delivered)
}

// standing is progress for who holds s.mu, and has asked the feed before.
func (s *Stream) standing(delivered uint64) (p Progress) {
	cursor := s.cursors[0]
	position := cursor.position(delivered)
	p.Next = position
	for fl := cursor.unacked.first; fl != nil; fl = fl.next {
		p.Open = append(p.Open, Attempt{Index: fl.event.Index, Count: fl.attempt, Due: fl.due})
	}
	if cursor.owed == nil {
		return p
	}
	p.Next = max(position, cursor.owed.Next)
	for _, a := range cursor.owed.Open {
		if a.Index >= position {
			p.Open = append(p.Open, a)
		}
	}
	for _, index := range cursor.owed.Done {
		if index >= p.Next {
			p.Done = append(p.Done, index)
		}
	}
	return p
}

// progress is where the consumer is. The caller holds c.mu.
func (c *Consumer) progress() Progress {
	if c.stream == nil {
		return c.at
	}
	return c.stream.progress()
}

func (c *Consumer) floor() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stream == nil {
		return c.at.Floor()
	}
	return c.stream.floor()
}

// floor is that of progress, without the rest of it.
func (s *Stream) floor() uint64 {
	cursor := s.cursors[0]
	delivered := cursor.feed.delivered.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	position := cursor.position(delivered)
	if cursor.owed != nil {
		position = cursor.owed.after(position)
	}
	return cursor.unacked.floor(position)
}

// enlist makes a member known to Settle.
func (h *Hub) enlist(m *Member) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return ErrClosed
	case m.id == "":
		return nil
	case h.consumers[m.id] != nil || h.members[m.id] != nil:
		return ErrConsumerBusy
	}
	h.members[m.id] = m
	return nil
}

func (h *Hub) discharge(m *Member) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.members[m.id] == m {
		delete(h.members, m.id)
	}
}
