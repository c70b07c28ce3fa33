package delivery

import (
	"testing"
	"testing/synctest"
	"time"
)

// A machine whose clock is set forward must not forget all keys at once, nor
// keep them for ever when it is set back: what is noted of a key is how long the
// process has run, and no time of day.
func TestKeysAreKeptForAsLongAsPassesWhateverTheClockSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDedup(time.Minute, 10)
		<-time.After(5 * time.Second) // of the bubble
		at := time.Now().Round(0)     // of the day alone, as from a log
		d.Load("a", []Entry{
			{Key: Key{Key: "fresh"}, At: at},
			{Key: Key{Key: "half"}, At: at.Add(-30 * time.Second)},
			{Key: Key{Key: "old"}, At: at.Add(-time.Minute)},
			{Key: Key{Key: "ahead"}, At: at.Add(time.Hour)},
			{Key: Key{Key: "far ahead"}, At: at.AddDate(900, 0, 0)},
			{Key: Key{Key: "far behind"}, At: at.AddDate(-900, 0, 0)},
		})
		r, _, err := d.Begin(t.Context(), "a", "new", [16]byte{})
		if err != nil {
			t.Fatal(err)
		}
		r.Commit(Receipt{Index: 1})
		for key, want := range map[string]time.Duration{
			"fresh": 65 * time.Second, "half": 35 * time.Second, "ahead": 65 * time.Second, "far ahead": 65 * time.Second, "new": 65 * time.Second,
		} {
			slot, known := d.known[digestOf("a", key)]
			if got := d.entries[slot].until; !known || got != want {
				t.Errorf("%s: got known %v until %v after the start, want %v", key, known, got, want)
			}
		}
		if got := len(d.known); got != 5 {
			t.Errorf("got %d keys, want 5: two are over", got)
		}
	})
}
