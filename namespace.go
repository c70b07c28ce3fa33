package bus

import (
	"fmt"
	"time"
)

// NamespaceInfo is what /v1/namespaces says about a namespace.
type NamespaceInfo struct {
	Name        string    `json:"name"`
	First       uint64    `json:"first_index"` // oldest event kept; Last+1 when there is none
	Last        uint64    `json:"last_index"`  // newest readable event; 0 when there was none
	Events      uint64    `json:"events"`
	Bytes       int64     `json:"bytes"`
	FirstAt     time.Time `json:"first_at,omitzero"` // when the oldest was committed
	LastAt      time.Time `json:"last_at,omitzero"`
	Sealed      bool      `json:"sealed"`
	KeyID       string    `json:"key_id,omitempty"`
	Incarnation string    `json:"incarnation"`         // what the ids of its events begin with
	TornTails   uint64    `json:"torn_tails"`          // unanswered tails cut since the server opened it
	Problem     string    `json:"problem,omitempty"`   // why it takes no more events
	Consumers   int       `json:"consumers,omitempty"` // streams that are connected now
}

// DamageError says that the events with indexes From to Next-1 of a namespace
// cannot be read. Next is 0 when nothing readable is known after them.
type DamageError struct {
	Namespace  string
	From, Next uint64
	Err        error // what was found, with file and offset
}

// Error names the range and the cause.
func (e *DamageError) Error() string {
	if e.Next == 0 {
		return fmt.Sprintf("namespace %s is damaged from index %d on: %v", e.Namespace, e.From, e.Err)
	}
	return fmt.Sprintf("namespace %s is damaged from index %d to %d: %v", e.Namespace, e.From, e.Next-1, e.Err)
}

// Unwrap returns the cause.
func (e *DamageError) Unwrap() error { return e.Err }
