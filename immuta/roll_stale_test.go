package immuta_test

import (
	"io/fs"
	"sync"
	"testing"
	"time"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// behindLook does something once, when a closed segment is about to be opened: who
// opens it has looked at the log before that.
type behindLook struct {
	immuta.FS
	path string
	once sync.Once
	do   func()
}

func (b *behindLook) OpenFile(path string, flag int, perm fs.FileMode) (immuta.File, error) {
	if path == b.path && b.do != nil {
		b.once.Do(b.do)
	}
	return b.FS.OpenFile(path, flag, perm)
}

// overtaken is a log of which a segment was closed, and all that was there is
// rolled and deleted when somebody opens that.
func overtaken(t *testing.T) *immuta.Log {
	t.Helper()
	files := faultfs.New()
	rolled(t, files, immuta.Options{}, 1).Close()
	slow := &behindLook{FS: files, path: closedFile(1)}
	log, err := immuta.Open(dir, name, immuta.Options{FS: slow})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	appendOne(t, log, "4")
	slow.do = func() {
		appendOne(t, log, "5")
		if err := log.Roll(t.Context()); err != nil {
			t.Error(err)
		}
		appendOne(t, log, "6")
		if _, err := log.Trim(6); err != nil {
			t.Error(err)
		}
	}
	return log
}

func TestAReaderThatIsOvertakenByARollAndATrimGoesOnWithoutDamage(t *testing.T) {
	log := overtaken(t)
	r := log.Reader(1)
	defer r.Close()
	b, err := r.Next()
	if err != nil || b.First != 6 || string(b.Records[0]) != "6" {
		t.Errorf("got a block at %d and %v, want record 6", b.First, err)
	}
}

func TestATimeIsFoundThoughARollAndATrimOvertakeTheSearch(t *testing.T) {
	log := overtaken(t)
	got, err := log.IndexAt(time.Unix(0, 1))
	if err != nil || got != 6 {
		t.Errorf("got index %d and %v, want 6", got, err)
	}
}
