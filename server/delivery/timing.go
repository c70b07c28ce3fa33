package delivery

import (
	"time"

	"example.com/bus"
)

// withheld reports whether an event is passed over, whoever wants it: it waits, and
// is delivered where it comes due, or it has expired, which is counted.
func (h *Hub) withheld(e *bus.Event) bool {
	if e.Timing == nil {
		return false // nearly always
	}
	if e.Expired(time.Now()) {
		h.expired.Add(1)
		return true
	}
	return e.Waits()
}

// Expired returns how often an event was passed over because it had expired: by the
// live end of a namespace for all streams there, by a stream that reads the log, and
// where it was to be delivered again.
func (h *Hub) Expired() uint64 { return h.expired.Load() }
