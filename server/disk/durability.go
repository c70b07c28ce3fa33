package disk

import (
	"fmt"
	"strings"
	"time"

	"example.com/bus/immuta"
)

// Durability is what a returned Append means. The zero value is the strictest.
type Durability struct {
	mode  immuta.SyncMode
	every time.Duration
}

// minSyncEvery keeps an interval from being a busy loop of syncs that is worse
// than "always" in speed and in promise.
const minSyncEvery = time.Millisecond

// ParseDurability reads "always" (the answer follows the sync), "interval=100ms"
// (the answer follows the write, a sync follows within the interval, and nobody
// sees an event before it) or "os" (the answer follows the write, and the
// operating system decides when to sync). Its error goes behind the name of what
// was read: is "x", wanted always, os or …
func ParseDurability(text string) (Durability, error) {
	switch text {
	case "always":
		return Durability{mode: immuta.SyncAlways}, nil
	case "os":
		return Durability{mode: immuta.SyncOS}, nil
	}
	if value, ok := strings.CutPrefix(text, "interval="); ok {
		every, err := time.ParseDuration(value)
		if err == nil && every >= minSyncEvery {
			return Durability{mode: immuta.SyncInterval, every: every}, nil
		}
	}
	return Durability{}, fmt.Errorf("is %q, wanted always, os or interval= with at least %s, as in interval=100ms", text, minSyncEvery)
}

// String returns what ParseDurability reads.
func (d Durability) String() string {
	switch d.mode {
	case immuta.SyncInterval:
		return "interval=" + d.every.String()
	case immuta.SyncOS:
		return "os"
	}
	return "always"
}
