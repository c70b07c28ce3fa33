package disk

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.com/bus"
)

// Retention says how much of a namespace is kept. A limit that is zero is none;
// the zero value keeps everything, in one file. Whole segments are deleted, so
// that an age and a number of events are what is kept at least: up to a sixteenth
// more may be there. Bytes are what the files have at most, but for what comes
// between a segment's end and its deletion.
type Retention struct {
	MaxAge    time.Duration // by the time of the commit; at least a minute
	MaxBytes  int64         // of the log's files; at least 1 MiB
	MaxEvents uint64        // indexes, with those that damage has taken
	// DiscardNew refuses what would pass MaxBytes or MaxEvents; else the oldest
	// events go. MaxAge deletes in either case.
	DiscardNew bool
	// Compact removes events that are not the newest of their subject, of closed
	// segments: where that is at least half of one. All subjects are known by heart
	// for it; with more than Options.LastSubjects nothing is removed.
	Compact bool
}

const (
	leastAge      = time.Minute
	leastMaxBytes = 1 << 20

	retentionParts = 16 // segments that a limit is cut into
	leastSegment   = 64 << 10
	mostSegment    = 1 << 30
)

// Limits reports whether there is any limit, of what is kept of a subject too.
func (r Retention) Limits() bool {
	return r.MaxAge > 0 || r.MaxBytes > 0 || r.MaxEvents > 0 || r.Compact
}

// Check refuses what cannot be meant.
func (r Retention) Check() error {
	switch {
	case r.MaxAge < 0 || r.MaxAge > 0 && r.MaxAge < leastAge:
		return fmt.Errorf("an age of %s: wanted %s or more", r.MaxAge, leastAge)
	case r.MaxBytes < 0 || r.MaxBytes > 0 && r.MaxBytes < leastMaxBytes:
		return fmt.Errorf("%d bytes: wanted %d (1MiB) or more", r.MaxBytes, leastMaxBytes)
	case r.DiscardNew && r.MaxBytes == 0 && r.MaxEvents == 0:
		return fmt.Errorf("discard=new without a number of bytes or events: wanted one, beyond which events are refused")
	}
	return nil
}

// String is the policy as it is written at the command line.
func (r Retention) String() string {
	var parts []string
	if r.MaxAge > 0 {
		parts = append(parts, r.MaxAge.String())
	}
	if r.MaxBytes > 0 {
		parts = append(parts, fmt.Sprintf("%dB", r.MaxBytes))
	}
	if r.MaxEvents > 0 {
		parts = append(parts, fmt.Sprintf("%devents", r.MaxEvents))
	}
	if r.DiscardNew {
		parts = append(parts, "discard=new")
	}
	if r.Compact {
		parts = append(parts, "compact")
	}
	return strings.Join(parts, ",")
}

// segmentBytes is how long a segment gets; 0: as long as it likes.
func (r Retention) segmentBytes() int64 {
	switch {
	case !r.Limits():
		return 0
	case r.MaxBytes == 0:
		return mostSegment
	}
	return min(max(r.MaxBytes/retentionParts, leastSegment), mostSegment)
}

// segmentEvents is how many events a segment gets; 0: as many as it likes.
func (r Retention) segmentEvents() uint64 {
	if r.MaxEvents == 0 {
		return 0
	}
	return max(r.MaxEvents/retentionParts, 1)
}

func (r Retention) info() *bus.RetentionInfo {
	if !r.Limits() {
		return nil
	}
	info := &bus.RetentionInfo{MaxBytes: r.MaxBytes, MaxEvents: r.MaxEvents, Discard: "old", Compact: r.Compact}
	if r.MaxAge > 0 {
		info.MaxAge = r.MaxAge.String()
	}
	if r.DiscardNew {
		info.Discard = "new"
	}
	return info
}

// checkRetention refuses a policy for a namespace that is not there: it would
// keep nothing from growing, and nobody would know.
func checkRetention(o Options) error {
	for _, name := range slices.Sorted(maps.Keys(o.Retention)) {
		if !slices.Contains(o.Namespaces, name) {
			return fmt.Errorf("retention of namespace %q: it is not declared, declared are %s", name, strings.Join(o.Namespaces, ", "))
		}
		if err := o.Retention[name].Check(); err != nil {
			return fmt.Errorf("retention of namespace %s: %w", name, err)
		}
	}
	return nil
}
