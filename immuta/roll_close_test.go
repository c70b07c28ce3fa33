package immuta_test

import (
	"sync"
	"testing"
	"time"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// slowRemove holds the first removal back, until the log is said to be closed or it
// has become plain that closing waits.
type slowRemove struct {
	immuta.FS
	once             sync.Once
	removing, closed chan struct{}
	late             bool
}

func (s *slowRemove) Remove(path string) error {
	s.once.Do(func() {
		close(s.removing)
		select {
		case <-s.closed:
			s.late = true
		case <-time.After(50 * time.Millisecond):
		}
	})
	return s.FS.Remove(path)
}

// Who has closed a log may delete its files and begin another one of its name.
func TestNothingIsDeletedOnceALogIsClosed(t *testing.T) {
	files := faultfs.New()
	rolled(t, files, immuta.Options{}, 3).Close()
	slow := &slowRemove{FS: files, removing: make(chan struct{}), closed: make(chan struct{})}
	log, err := immuta.Open(dir, name, immuta.Options{FS: slow})
	if err != nil {
		t.Fatal(err)
	}
	var trim sync.WaitGroup
	trim.Go(func() { log.Trim(100) })
	<-slow.removing
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	close(slow.closed)
	trim.Wait()
	if slow.late {
		t.Error("the log was closed, and a file of it was deleted after that")
	}
}
