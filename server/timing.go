package server

import (
	"time"

	"example.com/bus"
)

// timingParams say in a query what they say as fields of an event in JSON.
var timingParams = []string{"deliver_at", "delay", "expires_at", "ttl"}

// setTiming reads them for an event whose body is its payload.
func setTiming(e *bus.Event, p *params) {
	t := bus.Timing{
		DeliverAt: p.moment("deliver_at"),
		ExpiresAt: p.moment("expires_at"),
		Delay:     p.duration("delay", 0, time.Nanosecond, bus.MaxDelay),
		TTL:       p.duration("ttl", 0, time.Nanosecond, bus.MaxTTL),
	}
	if t != (bus.Timing{}) {
		e.Timing = &t
	}
}

// moment reads a time; the zero time counts as absent.
func (p *params) moment(name string) time.Time {
	v := p.text(name)
	if v == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		p.fail(name, v, "a time like 2026-01-31T12:00:00Z")
	}
	return t.UTC()
}

// settleTimings makes moments of what publishers say relative to now.
func settleTimings(events []bus.Event) error {
	var now time.Time
	for i := range events {
		if events[i].Timing == nil {
			continue // nearly always
		}
		if now.IsZero() {
			now = time.Now()
		}
		if err := events[i].SettleTiming(now); err != nil {
			if len(events) == 1 {
				return err
			}
			return bus.AtLine(err, i+1)
		}
	}
	return nil
}
