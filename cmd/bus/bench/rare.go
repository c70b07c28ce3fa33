package bench

import (
	"context"
	"fmt"
	"time"
)

// seeks is how often one is measured in a run.
const seeks = 100

// seeking opens streams from the oldest event on for a subject that has one event,
// the newest of a long log, and measures the time from before the connection until
// it is there. In the end all events have to be there.
func seeking(events int) func(context.Context, *run) (Figures, error) {
	return func(ctx context.Context, r *run) (Figures, error) {
		s, n, err := r.filled(ctx, events)
		if err != nil {
			return Figures{}, err
		}
		subject := s.ns + ".rare"
		p, err := r.posting(s, 1, []string{envelope(subject, payload(n, r.config.Payload))})
		if err != nil {
			return Figures{}, err
		}
		if err := p.send(); err != nil {
			return Figures{}, err
		}
		if got := p.indexes[0]; got != uint64(n+1) {
			return Figures{}, fmt.Errorf("answered index %d behind %d events, want %d", got, n, n+1)
		}
		took := make([]time.Duration, seeks)
		before, begun := s.usage(), time.Now()
		for i := range took {
			if took[i], err = r.seek(ctx, s, subject, uint64(n+1)); err != nil {
				return Figures{}, err
			}
		}
		elapsed, after := time.Since(begun), s.usage()
		f := Figures{}
		f.spread(took)
		f.cost(len(took), elapsed, before, after)
		f.Events, f.Rate = n+1, 0 // streams are opened one after the other
		return f, r.readAll(ctx, s, n+1)
	}
}

// seek reads the only event of a subject.
func (r *run) seek(ctx context.Context, s *server, subject string, want uint64) (time.Duration, error) {
	at, found := time.Now(), make(chan time.Duration, 1)
	check := func(place int, got uint64, _ []byte) error {
		if place != 1 || got != want {
			return fmt.Errorf("got event %d of %s, want only %d", got, subject, want)
		}
		found <- time.Since(at)
		return nil
	}
	b, err := r.stream(ctx, s, "subject="+subject+"&start=oldest", reading{near: true, seen: check})
	if err != nil {
		return 0, err
	}
	defer b.conn.Close()
	if err := b.reach(ctx, 1); err != nil {
		return 0, err
	}
	return <-found, nil
}
