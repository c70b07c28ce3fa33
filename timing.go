package bus

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Limits on the timing of one event.
const (
	// MaxDelay is how far ahead the delivery of an event may be put off.
	MaxDelay = 366 * 24 * time.Hour
	// MaxTTL is how long an event may be worth delivering.
	MaxTTL = 100 * 366 * 24 * time.Hour
)

// Timing says when an event is delivered and until when. Few events have one.
type Timing struct {
	DeliverAt time.Time // not delivered before; zero: at once
	ExpiresAt time.Time // not delivered from then on; zero: for ever

	// Delay and TTL are what a publisher may say instead, and count from the moment
	// at which the bus takes the event; TTL of an event that waits from DeliverAt.
	// Stored events do not have them: see SettleTiming.
	Delay, TTL time.Duration

	// Published is the index that the event was given when it was published, of an
	// event that was put off and stands at Event.Index, where it came due; 0 of every
	// other. The one at that index has the same id.
	Published uint64
}

// Waits reports whether the event stands where it was published and is delivered
// elsewhere: where it comes due.
func (e *Event) Waits() bool {
	return e.Timing != nil && !e.Timing.DeliverAt.IsZero() && e.Timing.Published == 0
}

// Expired reports whether the event is not to be delivered any more.
func (e *Event) Expired(now time.Time) bool {
	return e.Timing != nil && !e.Timing.ExpiresAt.IsZero() && !now.Before(e.Timing.ExpiresAt)
}

// GivenIndex is the index that the publisher was told.
func (e *Event) GivenIndex() uint64 {
	if e.Timing != nil && e.Timing.Published != 0 {
		return e.Timing.Published
	}
	return e.Index
}

// SettleTiming makes times of Delay and TTL, counted from now. What is due already
// does not wait. The event has a Timing of its own afterwards, or none.
// ErrInvalidEvent when what it comes to is beyond MaxDelay or MaxTTL.
func (e *Event) SettleTiming(now time.Time) error {
	if e.Timing == nil {
		return nil
	}
	t, now := *e.Timing, now.UTC().Round(0) // without what a clock that is not this one cannot use
	if t.Delay > 0 {
		t.DeliverAt = now.Add(t.Delay)
	}
	if !t.DeliverAt.After(now) {
		t.DeliverAt = time.Time{}
	}
	from := now
	if !t.DeliverAt.IsZero() {
		from = t.DeliverAt
	}
	if t.TTL > 0 {
		t.ExpiresAt = from.Add(t.TTL)
	}
	t.Delay, t.TTL, t.Published = 0, 0, 0
	switch {
	case t.DeliverAt.Sub(now) > MaxDelay:
		return ErrInvalidEvent.With("deliver_at is %s, more than %s ahead", t.DeliverAt.Format(time.RFC3339), days(MaxDelay))
	case t.ExpiresAt.Sub(now) > MaxTTL+MaxDelay:
		return ErrInvalidEvent.With("expires_at is %s, more than %s ahead", t.ExpiresAt.Format(time.RFC3339), days(MaxTTL))
	case !t.ExpiresAt.IsZero() && !t.DeliverAt.IsZero() && !t.ExpiresAt.After(t.DeliverAt):
		return ErrInvalidEvent.With("expires_at is %s, which is not after deliver_at %s", t.ExpiresAt.Format(time.RFC3339Nano), t.DeliverAt.Format(time.RFC3339Nano))
	}
	if e.Timing = nil; !t.DeliverAt.IsZero() || !t.ExpiresAt.IsZero() {
		e.Timing = &t
	}
	return nil
}

func days(d time.Duration) string { return strconv.Itoa(int(d/(24*time.Hour))) + " days" }

// check refuses what cannot be meant, or not be kept.
func (t *Timing) check() error {
	switch {
	case t.Delay != 0 && !t.DeliverAt.IsZero():
		return ErrInvalidEvent.With("delay and deliver_at stand side by side, wanted one of them")
	case t.TTL != 0 && !t.ExpiresAt.IsZero():
		return ErrInvalidEvent.With("ttl and expires_at stand side by side, wanted one of them")
	case t.Delay < 0 || t.Delay > MaxDelay:
		return ErrInvalidEvent.With("delay is %s, wanted 0s to %s", t.Delay, days(MaxDelay))
	case t.TTL < 0 || t.TTL > MaxTTL:
		return ErrInvalidEvent.With("ttl is %s, wanted 0s to %s", t.TTL, days(MaxTTL))
	}
	if err := checkYear("deliver_at", t.DeliverAt); err != nil {
		return err
	}
	return checkYear("expires_at", t.ExpiresAt)
}

// checkYear keeps times within what unix nanoseconds can say.
func checkYear(name string, t time.Time) error {
	if y := t.Year(); !t.IsZero() && (y < 1700 || y > 2200) {
		return ErrInvalidEvent.With("%s is in the year %d, wanted 1700 to 2200", name, y)
	}
	return nil
}

// ParseAge is time.ParseDuration that also knows whole days and weeks, as in 7d and
// 2w. ok is false for what cannot be read, and for less than nothing.
func ParseAge(text string) (age time.Duration, ok bool) {
	for unit, length := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		count, found := strings.CutSuffix(text, unit)
		if !found {
			continue
		}
		n, err := strconv.ParseInt(count, 10, 64)
		return time.Duration(n) * length, err == nil && n >= 0 && n <= math.MaxInt64/int64(length)
	}
	age, err := time.ParseDuration(text)
	return age, err == nil && age >= 0
}

func (e *Event) appendTiming(dst []byte) []byte {
	t := e.Timing
	if t == nil {
		return dst
	}
	dst = appendMoment(dst, `,"deliver_at":"`, t.DeliverAt)
	dst = appendMoment(dst, `,"expires_at":"`, t.ExpiresAt)
	dst = appendDuration(dst, `,"delay":"`, t.Delay)
	return appendDuration(dst, `,"ttl":"`, t.TTL)
}

func appendMoment(dst []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return dst
	}
	dst = t.UTC().AppendFormat(append(dst, name...), time.RFC3339Nano)
	return append(dst, '"')
}

func appendDuration(dst []byte, name string, d time.Duration) []byte {
	if d == 0 {
		return dst
	}
	return append(append(append(dst, name...), d.String()...), '"')
}

// timing is the event's, which is made when the first field of it is read.
func (e *Event) timing() *Timing {
	if e.Timing == nil {
		e.Timing = &Timing{}
	}
	return e.Timing
}

// moment reads a time of the timing; absent ones leave the event without.
func (s *scanner) moment(e *Event, name string, set func(*Timing, time.Time)) error {
	at, err := s.time(name)
	if err == nil && !at.IsZero() {
		set(e.timing(), at)
	}
	return err
}

// duration reads a duration of the timing; zero counts as absent.
func (s *scanner) duration(e *Event, name string, set func(*Timing, time.Duration)) error {
	text, err := s.text(name)
	if err != nil || text == "" {
		return err
	}
	d, ok := ParseAge(text)
	if !ok {
		return ErrInvalidEvent.With("%s is %.80q, wanted a duration such as 90s, 36h or 7d", name, text)
	}
	if d != 0 {
		set(e.timing(), d)
	}
	return nil
}
