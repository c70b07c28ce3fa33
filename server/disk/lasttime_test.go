package disk

import (
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// slowFS takes a second for each sync of data.
type slowFS struct{ immuta.FS }

type slowFile struct{ immuta.File }

func (f slowFS) OpenFile(path string, flag int, perm fs.FileMode) (immuta.File, error) {
	file, err := f.FS.OpenFile(path, flag, perm)
	return slowFile{file}, err
}

func (f slowFile) Datasync() error {
	<-time.After(time.Second)
	return f.File.Datasync()
}

// In a bubble time only passes while everybody is idle: whoever waits for a commit must
// be, or neither goes on.
func TestWhoWaitsForACommitOnASlowDiskIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := Open("data", Options{Namespaces: []string{"orders"}, FS: slowFS{faultfs.New()}})
		if err != nil {
			t.Fatal(err)
		}
		put := func(subject string, when bus.Condition, want uint64) {
			events := one(subject)
			if err := e.AppendIf(t.Context(), "orders", events, when); err != nil || events[0].Index != want {
				t.Errorf("got index %d and %v, want %d", events[0].Index, err, want)
			}
		}
		go put("orders.a", bus.Condition{}, 1)
		synctest.Wait()
		wantNewest(t, e, 2, 1)
		go put("orders.a", onSubject(1), 2)
		synctest.Wait()
		wantNewest(t, e, 3, 2)
		go put("orders.b", onSubject(0), 3)
		synctest.Wait()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}
