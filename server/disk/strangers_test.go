package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/immuta"
)

// sealings are the two ways of keeping a directory.
var sealings = map[string]immuta.Sealing{"plain": nil, "sealed": fakeSealing{"secret"}}

func TestSavedIDsAreNotReadFromTheLogAgain(t *testing.T) {
	for name, sealing := range sealings {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			e := openTest(t, dir, Options{Sealing: sealing})
			want := mustAppend(t, e, strange(0, 100)...)
			mustClose(t, e)
			for round := range 3 {
				var j journal
				e := openTest(t, dir, Options{Sealing: sealing, Logger: j.logger()})
				checkFound(t, e, want)
				if got := e.log("orders").ids.saved; got != uint64(len(want)+1) {
					t.Errorf("round %d: got index %d saved, want %d", round, got, len(want)+1)
				}
				want = append(want, mustAppend(t, e, strange(len(want), 30)...)...)
				checkFound(t, e, want)
				mustClose(t, e)
				if j.String() != "" {
					t.Errorf("round %d: got log %q, want none", round, j.String())
				}
			}
		})
	}
}

func TestAnEngineThatNeverSawAStrangerWritesNothingBeforeItsFirstEvent(t *testing.T) {
	dir := t.TempDir()
	mustClose(t, openTest(t, dir, Options{}))
	entries, err := os.ReadDir(filepath.Join(dir, derivedDir))
	if err != nil || len(entries) != 0 {
		t.Errorf("got %v, %v, want an empty folder", entries, err)
	}
}

// TestALostOrDamagedIndexOfIDsIsMadeAnew damages the derived log in each way
// and looks every id up.
func TestALostOrDamagedIndexOfIDsIsMadeAnew(t *testing.T) {
	other := t.TempDir()
	e := openTest(t, other, Options{})
	mustAppend(t, e, strange(0, 3)...)
	mustClose(t, e)
	file := func(dir string) string { return filepath.Join(dir, derivedDir, "orders.log") }
	for name, damage := range map[string]func(t *testing.T, path string){
		"lost":            func(t *testing.T, path string) { os.Remove(path) },
		"empty":           func(t *testing.T, path string) { writeFile(t, nil, path) },
		"no log":          func(t *testing.T, path string) { writeFile(t, []byte("hello"), path) },
		"of another log":  func(t *testing.T, path string) { writeFile(t, readFile(t, file(other)), path) },
		"cut by a byte":   func(t *testing.T, path string) { d := readFile(t, path); writeFile(t, d[:len(d)-1], path) },
		"cut in the head": func(t *testing.T, path string) { writeFile(t, readFile(t, path)[:140], path) },
		"a bit flipped": func(t *testing.T, path string) {
			d := readFile(t, path)
			d[300] ^= 4
			writeFile(t, d, path)
		},
		"a namespace's": func(t *testing.T, path string) {
			writeFile(t, readFile(t, filepath.Dir(path), "..", "orders.log"), path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for round, sealing := range sealings {
				dir := t.TempDir()
				e := openTest(t, dir, Options{Sealing: sealing})
				want := mustAppend(t, e, strange(0, 100)...)
				mustClose(t, e)
				damage(t, file(dir))
				for range 2 {
					e = openTest(t, dir, Options{Sealing: sealing})
					checkFound(t, e, want)
					want = append(want, mustAppend(t, e, strange(len(want), 5)...)...)
					checkFound(t, e, want)
					mustClose(t, e)
				}
				var j journal
				e = openTest(t, dir, Options{Sealing: sealing, Logger: j.logger()})
				checkFound(t, e, want)
				if j.String() != "" {
					t.Errorf("%s: got log %q after it was made anew, want none", round, j.String())
				}
			}
		})
	}
}

func TestAnIndexOfIDsAheadOfItsLogIsNotBelieved(t *testing.T) {
	for name, more := range map[string]int{"shorter": 0, "as long": 40, "longer": 200} {
		t.Run(name, func(t *testing.T) {
			dir, old := t.TempDir(), t.TempDir()
			var quiet journal
			e := openTest(t, dir, Options{Logger: quiet.logger()})
			kept := mustAppend(t, e, strange(0, 10)...)
			mustClose(t, e)
			writeFile(t, readFile(t, dir, "orders.log"), old, "orders.log")
			e = openTest(t, dir, Options{Logger: quiet.logger()})
			gone := mustAppend(t, e, strange(10, 40)...)
			mustClose(t, e)
			if strings.Contains(quiet.String(), "level=WARN") {
				t.Fatalf("got log %q, want no warning", quiet.String())
			}

			// Somebody puts a copy of yesterday in the log's place, and goes on.
			e = openTest(t, old, Options{})
			for i := range more {
				kept = append(kept, mustAppend(t, e, bus.Event{Id: fmt.Sprintf("new-%d", i), Subject: "orders.created"})...)
			}
			mustClose(t, e)
			writeFile(t, readFile(t, old, "orders.log"), dir, "orders.log")
			var j journal
			e = openTest(t, dir, Options{Logger: j.logger()})
			checkFound(t, e, kept)
			for _, lost := range gone {
				if got, err := e.Find(t.Context(), "orders", lost.Id); !errors.Is(err, bus.ErrUnknownEvent) {
					t.Errorf("find %s: got %d, %v, want %v", lost.Id, got, err, bus.ErrUnknownEvent)
				}
			}
			wantLogged(t, &j, "made anew", "does not belong to this log")
			if _, err := os.Stat(filepath.Join(dir, derivedDir, "orders.log.stale")); err != nil {
				t.Errorf("the one set aside: %v", err)
			}
		})
	}
}

// gateFS holds back reads of the log's body until it is opened.
type gateFS struct {
	immuta.FS
	open chan struct{}
	once sync.Once
	seen chan struct{} // closed at the first read that is held back
}

type gateFile struct {
	immuta.File
	fs   *gateFS
	path string
}

func (g *gateFS) OpenFile(path string, flag int, perm fs.FileMode) (immuta.File, error) {
	f, err := g.FS.OpenFile(path, flag, perm)
	if err != nil || filepath.Base(filepath.Dir(path)) != derivedDir {
		return f, err
	}
	return gateFile{f, g, path}, nil
}

func (f gateFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.once.Do(func() { close(f.fs.seen) })
	<-f.fs.open
	return f.File.ReadAt(p, off)
}

func TestOpeningDoesNotWaitForTheIDsButFindDoes(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{})
	want := mustAppend(t, e, strange(0, 100)...)
	mustClose(t, e)

	gate := &gateFS{FS: immuta.OS(), open: make(chan struct{}), seen: make(chan struct{})}
	e = openTest(t, dir, Options{FS: gate})
	<-gate.seen
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Find(ctx, "orders", want[5].Id); !errors.Is(err, context.Canceled) {
		t.Errorf("while it is loaded: got %v, want %v", err, context.Canceled)
	}
	own := bus.FormatID(bus.Position{Incarnation: e.Incarnation("orders"), Index: 3})
	if got, err := e.Find(ctx, "orders", own); got != 3 || err != nil {
		t.Errorf("an own id while it is loaded: got %d, %v, want 3", got, err)
	}
	want = append(want, mustAppend(t, e, strange(100, 30)...)...)
	found := make(chan error)
	go func() {
		got, err := e.Find(t.Context(), "orders", want[110].Id)
		if err == nil && got != want[110].Index {
			err = fmt.Errorf("got index %d, want %d", got, want[110].Index)
		}
		found <- err
	}()
	close(gate.open)
	if err := <-found; err != nil {
		t.Error(err)
	}
	checkFound(t, e, want)
	mustClose(t, e)
	checkFound(t, openTest(t, dir, Options{}), want)
}

func TestIDsAreSavedWhileAppendsGoOn(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{Durability: mustDurability(t, "os"), saveAt: saveLimits{entries: 20, events: 100, bytes: 10_000}})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var want []bus.Event
	for w := range 4 {
		wg.Go(func() {
			for part := range 20 {
				events := strange(w*10_000+part*20, 20)
				if err := e.Append(t.Context(), "orders", events); err != nil {
					t.Errorf("append: %v", err)
				}
				mu.Lock()
				want = append(want, events...)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	ids := e.log("orders").ids
	saved := func() uint64 {
		ids.mu.Lock()
		defer ids.mu.Unlock()
		return ids.saved
	}
	for deadline := time.Now().Add(30 * time.Second); saved() == 1 && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	if saved() == 1 {
		t.Error("nothing was saved before Close")
	}
	checkFound(t, e, want)
	mustClose(t, e)
	checkFound(t, openTest(t, dir, Options{}), want)
}

func TestIDsAreFoundBeforeTheirEventsAreReadable(t *testing.T) {
	dir := t.TempDir()
	o := Options{Durability: mustDurability(t, "interval=1h")}
	e := openTest(t, dir, o)
	want := mustAppend(t, e, append(strange(0, 30), testEvent("orders.created", "1"))...)
	if _, next := e.Bounds("orders"); next != 1 {
		t.Errorf("got next index %d before the first sync, want 1", next)
	}
	checkFound(t, e, want)
	mustClose(t, e)
	checkFound(t, openTest(t, dir, o), want)
}

// TestALongCatchingUpDoesNotKeepAnEngineOpen closes an engine while it reads a
// log that has lost its index of ids, again and again: each open goes on where
// the last one stopped.
func TestALongCatchingUpDoesNotKeepAnEngineOpen(t *testing.T) {
	dir := t.TempDir()
	o := Options{Durability: mustDurability(t, "os"), saveAt: saveLimits{entries: 1 << 20, events: 1 << 20, bytes: 15_000}}
	e := openTest(t, dir, o)
	e.log("orders").ids.stopSaving()
	var want []bus.Event
	for i := range 40 {
		want = append(want, mustAppend(t, e, strange(i*20, 20)...)...)
	}
	mustClose(t, e)
	last := uint64(0)
	for range 1000 {
		e := openTest(t, dir, o)
		mustClose(t, e)
		ids := e.log("orders").ids
		if ids.saved <= last {
			t.Fatalf("got ids known up to index %d, after %d", ids.saved, last)
		}
		if last = ids.saved; last == uint64(len(want)+1) {
			break
		}
		if _, err := e.Find(t.Context(), "orders", "unknown"); !errors.Is(err, bus.ErrUnavailable) {
			t.Errorf("with a part of the ids: got %v, want %v", err, bus.ErrUnavailable)
		}
	}
	checkFound(t, openTest(t, dir, o), want)
}

func TestReadingOnlyUsesTheSavedIDsAndWritesNothing(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{})
	want := mustAppend(t, e, strange(0, 50)...)
	mustClose(t, e)
	checkFound(t, openTest(t, dir, Options{ReadOnly: true}), want)
	if err := os.Remove(filepath.Join(dir, derivedDir, "orders.log")); err != nil {
		t.Fatal(err)
	}
	r := openTest(t, dir, Options{ReadOnly: true})
	checkFound(t, r, want)
	mustClose(t, r)
	if _, err := os.Stat(filepath.Join(dir, derivedDir, "orders.log")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
}

func mustDurability(t *testing.T, text string) Durability {
	t.Helper()
	d, err := ParseDurability(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A log may be opened again and again to see it grow, by who asks for no id.
func TestReadingOnlyLoadsNoIDsBeforeOneIsAskedFor(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{})
	want := mustAppend(t, e, strange(0, 10)...)
	mustClose(t, e)

	never := openTest(t, dir, Options{ReadOnly: true})
	mustClose(t, never)
	if got := never.log("orders").ids; got.set != nil || got.loading != nil {
		t.Error("got ids of a log that nobody asked, want none")
	}
	if _, err := never.Find(t.Context(), "orders", want[0].Id); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("a closed log: got %v, want %v", err, bus.ErrUnavailable)
	}
	asked := openTest(t, dir, Options{ReadOnly: true})
	defer asked.Close()
	checkFound(t, asked, want)
}
