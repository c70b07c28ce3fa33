package bus

import "time"

// NamespaceInfo is what /v1/namespaces says about a namespace.
type NamespaceInfo struct {
	Name        string    `json:"name"`
	First       uint64    `json:"first_index"` // oldest event kept; Last+1 when there is none
	Last        uint64    `json:"last_index"`  // newest readable event; 0 when there was none
	Events      uint64    `json:"events"`      // indexes that were given; those lost to damage count, too
	Bytes       int64     `json:"bytes"`
	FirstAt     time.Time `json:"first_at,omitzero"` // when the oldest was committed
	LastAt      time.Time `json:"last_at,omitzero"`
	FreeBytes   *int64    `json:"free_bytes,omitempty"` // of the disk it is on; nil: not known
	Sealed      bool      `json:"sealed"`
	KeyID       string    `json:"key_id,omitempty"`
	Incarnation string    `json:"incarnation"`                // what the ids of its events begin with
	TornTails   uint64    `json:"torn_tails"`                 // unanswered tails cut since the server opened it
	Problem     string    `json:"problem,omitempty"`          // why it takes no events now
	Rate        float64   `json:"rate"`                       // events a second over the last minute
	Streams     int       `json:"streams,omitempty"`          // connected now
	Consumers   int       `json:"consumers,omitempty"`        // named ones
	Subjects    int       `json:"tracked_subjects,omitempty"` // whose last index is kept in memory; 0: nobody has asked for one yet

	// What waits for its delivery: events that were published with deliver_at or delay.
	Delayed      int       `json:"delayed,omitempty"`
	NextDelivery time.Time `json:"next_delivery,omitzero"` // when the first of them is due
	MaxDelayed   int       `json:"max_delayed,omitempty"`  // how many may wait
	DelayedLost  uint64    `json:"delayed_lost,omitempty"` // that were deleted, or lost to damage, before they were due, since the server opened it

	Segments  int            `json:"segments,omitempty"`  // files of the log
	Retention *RetentionInfo `json:"retention,omitempty"` // what is kept; nil: everything
	Deleted   Deleted        `json:"deleted,omitzero"`    // by the retention, since the server opened it
	Removed   Removed        `json:"removed,omitzero"`    // from the middle of the log, since then
}

// RetentionInfo is how much of a namespace is kept. A limit that is not there is
// none.
type RetentionInfo struct {
	MaxAge    string `json:"max_age,omitempty"` // as Go writes it: 168h0m0s
	MaxBytes  int64  `json:"max_bytes,omitempty"`
	MaxEvents uint64 `json:"max_events,omitempty"`
	Discard   string `json:"discard"`           // old, or new: events beyond bytes or events are refused
	Compact   bool   `json:"compact,omitempty"` // only the newest event of each subject is kept for good
}

// Deleted counts what retention has deleted.
type Deleted struct {
	Segments uint64 `json:"segments"`
	Events   uint64 `json:"events"`
	Bytes    uint64 `json:"bytes"`
}

// Removed counts events that were removed one by one. Their indexes stay.
type Removed struct {
	Deleted   uint64 `json:"deleted,omitempty"`   // because somebody asked for it
	Compacted uint64 `json:"compacted,omitempty"` // because a newer one has their subject
	Expired   uint64 `json:"expired,omitempty"`   // because their time was over
}

// DeletedEvent is what deleting one event answers. Its index stays.
type DeletedEvent struct {
	Namespace string `json:"namespace"`
	Index     uint64 `json:"index"` // that its publisher was told; of one that was deleted before, its place
	ID        string `json:"id"`    // of one that was deleted before, the one that the log gives its place
	Deleted   bool   `json:"deleted"`
	Already   bool   `json:"already,omitempty"` // it was removed before
}
