package immuta_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
	"testing"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// gatedFS holds up every sync while it is closed.
type gatedFS struct {
	*faultfs.FS
	closed  atomic.Bool
	entered chan struct{}
	gate    chan struct{}
}

func (g *gatedFS) OpenFile(path string, flag int, perm fs.FileMode) (immuta.File, error) {
	f, err := g.FS.OpenFile(path, flag, perm)
	return &gatedFile{f, g}, err
}

type gatedFile struct {
	immuta.File
	fs *gatedFS
}

func (f *gatedFile) Datasync() error {
	if f.fs.closed.Load() {
		f.fs.entered <- struct{}{}
		<-f.fs.gate
	}
	return f.File.Datasync()
}

func TestReadersDoNotWaitForAWriterThatHangsInItsSync(t *testing.T) {
	gate := &gatedFS{FS: faultfs.New(), entered: make(chan struct{}, 1), gate: make(chan struct{})}
	l, err := immuta.Open(dir, name, immuta.Options{FS: gate})
	if err != nil {
		t.Fatal(err)
	}
	add(t, l, "a")
	gate.closed.Store(true)
	done := make(chan error)
	go func() { _, err := l.Append(t.Context(), [][]byte{[]byte("b")}); done <- err }()
	<-gate.entered
	got, err := all(l)
	if err != nil || fmt.Sprint(got) != "[a]" {
		t.Fatalf("got %v and %v while the writer hangs, want what is durable", got, err)
	}
	if at, err := l.IndexAt(l.Stat().LastTime); at != 1 || err != nil {
		t.Fatalf("got index %d and %v, want 1", at, err)
	}
	close(gate.gate)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// TestReadersBesideAWriterSeeEveryRecordOnceInOrder has readers that follow the
// end, readers that start over, and appenders, in every mode of syncing.
func TestReadersBesideAWriterSeeEveryRecordOnceInOrder(t *testing.T) {
	forModes(t, func(t *testing.T, o immuta.Options) {
		const appenders, each, readers = 4, 60, 6
		o.BlockSize, o.SyncEvery = 256, 1
		l := open(t, faultfs.New(), o)
		var writing, reading sync.WaitGroup
		for a := range appenders {
			writing.Go(func() {
				for i := range each {
					record := binary.LittleEndian.AppendUint64(nil, uint64(a*each+i))
					if _, err := l.Append(context.Background(), [][]byte{record, make([]byte, i%4*8000)}); err != nil {
						t.Errorf("append: %v", err)
					}
				}
			})
		}
		for r := range readers {
			reading.Go(func() { follow(t, l, r, appenders*each*2) })
		}
		writing.Wait()
		reading.Wait()
	})
}

// follow reads until it has seen n records; every few blocks some readers start
// over behind, which takes them from the memory of recent blocks to the file.
func follow(t *testing.T, l *immuta.Log, restless, n int) {
	r := l.Reader(1)
	defer r.Close()
	seen, next := map[uint64]int{}, uint64(1)
	for steps := 1; int(next) <= n; steps++ {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			if err := l.Wait(context.Background(), next); err != nil {
				t.Errorf("wait: %v", err)
				return
			}
			continue
		}
		if err != nil || b.First != next {
			t.Errorf("got a block at %d and %v, want it at %d", b.First, err, next)
			return
		}
		for i, rec := range b.Records {
			if (b.First+uint64(i))%2 == 1 {
				seen[binary.LittleEndian.Uint64(rec)] = 1
			}
		}
		next += uint64(len(b.Records))
		if restless > 3 && steps%20 == 0 && steps < 200 {
			next = next/2 + 1
			r.Seek(next)
		}
	}
	if len(seen) != n/2 {
		t.Errorf("got %d different records, want %d", len(seen), n/2)
	}
}

func TestThousandsMayWaitAndAllWakeOnce(t *testing.T) {
	l := open(t, faultfs.New(), immuta.Options{})
	var started, woken sync.WaitGroup
	for range 5000 {
		started.Add(1)
		woken.Go(func() {
			started.Done()
			if err := l.Wait(context.Background(), 2); err != nil {
				t.Errorf("wait: %v", err)
			}
		})
	}
	started.Wait()
	add(t, l, "not yet")
	add(t, l, "now")
	woken.Wait()
}

func TestCloseEndsReadersAndWaitersAndAppendersOfAnyMoment(t *testing.T) {
	for range 50 {
		l := open(t, faultfs.New(), immuta.Options{})
		var wg sync.WaitGroup
		var answered atomic.Int64
		for range 4 {
			wg.Go(func() {
				for {
					if _, err := l.Append(context.Background(), [][]byte{[]byte("x")}); err != nil {
						if !errors.Is(err, immuta.ErrClosed) {
							t.Errorf("append: %v", err)
						}
						return
					}
					answered.Add(1)
				}
			})
			wg.Go(func() {
				r := l.Reader(1)
				for next := uint64(1); ; {
					b, err := r.Next()
					if err == io.EOF {
						err = l.Wait(context.Background(), next)
					}
					if errors.Is(err, immuta.ErrClosed) {
						return
					}
					if err != nil {
						t.Errorf("read: %v", err)
						return
					}
					next += uint64(len(b.Records))
				}
			})
		}
		l.Wait(context.Background(), 20)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if got := visible(l); got != int(answered.Load()) {
			t.Fatalf("got %d records for %d answers", got, answered.Load())
		}
	}
}
