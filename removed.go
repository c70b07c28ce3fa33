package bus

import (
	"errors"
	"fmt"
	"time"
)

// Why an event was removed from the middle of a log. Its index stays and is never
// given again.
const (
	RemovedDeleted   = "deleted"   // somebody asked for just that, for what is in it
	RemovedCompacted = "compacted" // a newer event of its subject made it needless
	RemovedExpired   = "expired"   // its time was over
)

// RemovedError says that the events with indexes From to Next-1 of a namespace were
// removed on purpose. It is no damage: there is nothing to repair, and reading goes
// on at Next.
type RemovedError struct {
	Namespace  string
	From, Next uint64
	Reason     string    // one of the above
	At         time.Time // of their commit, or of one of them
}

// Error names the range and the reason.
func (e *RemovedError) Error() string {
	events := fmt.Sprintf("events %d to %d", e.From, e.Next-1)
	if e.Next == e.From+1 {
		events = fmt.Sprintf("event %d", e.From)
	}
	why := map[string]string{
		RemovedDeleted: "deleted", RemovedCompacted: "removed, because a newer event has the same subject", RemovedExpired: "removed, because the time was over",
	}[e.Reason]
	return fmt.Sprintf("%s of namespace %s: %s", events, e.Namespace, why)
}

// Refusal is how it travels: as ErrEventDeleted or ErrEventRemoved, with the index
// behind those that were removed, so that a run of them is passed over at once.
func (e *RemovedError) Refusal() *Error {
	refusal := ErrEventRemoved
	if e.Reason == RemovedDeleted {
		refusal = ErrEventDeleted
	}
	refusal = refusal.With("%s", e)
	refusal.Index = e.Next
	return refusal
}

// AsRemoved returns err as a *RemovedError, wherever it stands in the chain.
func AsRemoved(err error) (*RemovedError, bool) { return errors.AsType[*RemovedError](err) }
