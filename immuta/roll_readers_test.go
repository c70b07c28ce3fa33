package immuta_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// followRolls reads what comes until the record last, and wants each record once, in
// order, with jumps only to what is kept.
func followRolls(ctx context.Context, log *immuta.Log, last uint64) (jumps int, err error) {
	r := log.Reader(1)
	defer r.Close()
	for due := uint64(1); due <= last; {
		b, err := r.Next()
		if err == io.EOF {
			if err := log.Wait(ctx, due); err != nil {
				return jumps, err
			}
			continue
		}
		if err != nil {
			return jumps, err
		}
		if b.First < due {
			return jumps, fmt.Errorf("got a block at %d, want %d or later", b.First, due)
		}
		if b.First > due {
			jumps++
		}
		for i, rec := range b.Records {
			if got, want := string(rec), fmt.Sprint(b.First+uint64(i)); got != want {
				return jumps, fmt.Errorf("got record %q, want %q", got, want)
			}
		}
		due = b.First + uint64(len(b.Records))
	}
	return jumps, nil
}

func TestReadersFollowALogThatRollsAndIsTrimmedUnderThem(t *testing.T) {
	const last = 3000
	for _, sealing := range []immuta.Sealing{nil, immuta.FakeSealing(1)} {
		log, err := immuta.Open(t.TempDir(), name, immuta.Options{Sync: immuta.SyncOS, SegmentBytes: 3000, Sealing: sealing})
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() {
				if _, err := followRolls(t.Context(), log, last); err != nil {
					t.Error(err)
				}
			})
		}
		all.Go(func() { // looks for times and places all the while
			for at := uint64(1); at < last; {
				if got, err := log.IndexAt(time.Now().Add(-time.Millisecond)); err != nil {
					t.Errorf("got %d and %v", got, err)
				}
				r := log.Reader(at)
				if _, err := r.Next(); err != nil && err != io.EOF {
					t.Error(err)
				}
				r.Close()
				for _, s := range log.Segments() {
					if s.Next < s.First {
						t.Errorf("got the segment %+v", s)
					}
				}
				_, at = log.Bounds()
			}
		})
		for i := 1; i <= last; i++ {
			appendOne(t, log, fmt.Sprint(i))
			if i%100 == 0 {
				if _, err := log.Trim(uint64(i) - 80); err != nil {
					t.Fatal(err)
				}
			}
		}
		all.Wait()
	}
}

func TestAnAnswerDoesNotWaitForTheRollThatItLeadsTo(t *testing.T) {
	fs := faultfs.New()
	rolling, goOn := make(chan struct{}), make(chan struct{})
	slow := &slowRename{FS: fs, rolling: rolling, goOn: goOn}
	log, err := immuta.Open(dir, name, immuta.Options{FS: slow, SegmentBytes: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	slow.arm()
	appendOne(t, log, "this is answered while the file is being renamed")
	<-rolling
	if first, next := log.Bounds(); first != 1 || next != 2 {
		t.Errorf("got the bounds %d and %d, want 1 and 2", first, next)
	}
	close(goOn)
	if got := appendOne(t, log, "2"); got != 2 {
		t.Errorf("got index %d, want 2", got)
	}
}

// slowRename holds the first rename back once it is armed.
type slowRename struct {
	immuta.FS
	mu            sync.Mutex
	armed         bool
	rolling, goOn chan struct{}
}

func (s *slowRename) arm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = true
}

func (s *slowRename) Rename(from, to string) error {
	s.mu.Lock()
	armed := s.armed
	s.armed = false
	s.mu.Unlock()
	if armed {
		close(s.rolling)
		<-s.goOn
	}
	return s.FS.Rename(from, to)
}

func TestASegmentSaysWhichOneIsInFrontOfItAndWhenThatEnded(t *testing.T) {
	fs := faultfs.New()
	now := time.Unix(1e9, 0)
	rolled(t, fs, immuta.Options{Now: func() time.Time { now = now.Add(time.Second); return now }}, 2).Close()
	for _, c := range []struct {
		path                   string
		first, previous, until uint64
	}{{closedFile(1), 1, 0, 1}, {closedFile(4), 4, 1, 4}, {logFile, 7, 4, 7}} {
		b, _ := fs.ReadFile(c.path)
		le := binary.LittleEndian
		if first, previous := le.Uint64(b[24:]), le.Uint64(b[88:]); first != c.first || previous != c.previous {
			t.Errorf("%s: got first %d behind %d, want %d behind %d", c.path, first, previous, c.first, c.previous)
		}
		if got, want := le.Uint64(b[32:]), uint64(1e9+c.until)*1e9; got != want {
			t.Errorf("%s: got the time %d, want %d", c.path, got, want)
		}
	}
}

func TestARollIsRefusedWhereNothingCanBeWritten(t *testing.T) {
	fs := faultfs.New()
	log := rolled(t, fs, immuta.Options{}, 1)
	reading := open(t, fs, immuta.Options{ReadOnly: true})
	if err := reading.Roll(t.Context()); !errors.Is(err, immuta.ErrReadOnly) {
		t.Errorf("got %v, want %v", err, immuta.ErrReadOnly)
	}
	if _, err := reading.Trim(4); !errors.Is(err, immuta.ErrReadOnly) {
		t.Errorf("got %v, want %v", err, immuta.ErrReadOnly)
	}
	log.Close()
	if err := log.Roll(t.Context()); !errors.Is(err, immuta.ErrClosed) {
		t.Errorf("got %v, want %v", err, immuta.ErrClosed)
	}
	if _, err := immuta.Open(dir, "orders.5", immuta.Options{FS: fs}); err == nil {
		t.Error("got a log named as a closed segment, want an error")
	}
}
