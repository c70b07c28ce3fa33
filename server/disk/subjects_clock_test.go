package disk

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestAnIndexOfAnotherLifeOfALogHidesNothingThoughItsClockStoodStill: a log that
// is ahead of the clock gives all its commits one time, which tells none of them
// from another.
func TestAnIndexOfAnotherLifeOfALogHidesNothingThoughItsClockStoodStill(t *testing.T) {
	for name, sealing := range sealings {
		t.Run(name, func(t *testing.T) {
			o := smallGroups(Options{Sealing: sealing, Now: func() time.Time { return time.Unix(1_700_000_000, 0) }})
			here, there := t.TempDir(), t.TempDir()
			e := openTest(t, here, o)
			mustAppend(t, e, common(25)...)
			mustClose(t, e)
			writeFile(t, readFile(t, here, "orders.log"), there, "orders.log")

			e = openTest(t, here, o)
			mustAppend(t, e, common(50)...)
			mustClose(t, e)

			e = openTest(t, there, o)
			others := common(50)
			others[3].Subject = "orders.elsewhere.paid"
			mustAppend(t, e, others...)
			mustClose(t, e)

			writeFile(t, readFile(t, there, "orders.log"), here, "orders.log")
			os.Remove(filepath.Join(here, "orders.idx"))
			e = openTest(t, here, o)
			defer mustClose(t, e)
			awaitSubjects(t, e)
			wantSkip(t, e, 1, "orders.elsewhere.*", 21) // the group that it is in
		})
	}
}
