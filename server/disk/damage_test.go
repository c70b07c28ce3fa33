package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"example.com/bus"
	"example.com/bus/immuta"
)

// readOn reads everything that can be read, leaving damage behind as its errors
// say, and returns the indexes and the damage.
func readOn(t *testing.T, e *Engine) (got []bus.Event, damage []*bus.DamageError) {
	t.Helper()
	r := e.Reader("orders", 1)
	defer r.Close()
	for {
		events, err := r.Next()
		if errors.Is(err, io.EOF) {
			return got, damage
		}
		bad, is := errors.AsType[*bus.DamageError](err)
		if err != nil && !is {
			t.Fatal(err)
		}
		if is {
			if _, err := r.Next(); !errors.Is(err, bad) && err.Error() != bad.Error() {
				t.Fatalf("read again: got %v, want %v again", err, bad)
			}
			damage = append(damage, bad)
			if bad.Next == 0 {
				return got, damage
			}
			r.Seek(bad.Next)
		}
		got = append(got, events...)
	}
}

func TestATornTailIsCutAndSaid(t *testing.T) {
	for name, sealing := range sealings {
		for cut := 0; cut < 40; cut += 3 {
			dir := t.TempDir()
			o := Options{Sealing: sealing, Durability: mustDurability(t, "os")}
			e := openTest(t, dir, o)
			want := mustAppend(t, e, strange(0, 20)...)
			last := mustAppend(t, e, strange(20, 5)...)
			mustClose(t, e)
			log := readFile(t, dir, "orders.log")
			writeFile(t, log[:len(log)-1-cut], dir, "orders.log")

			var j journal
			o.Logger = j.logger()
			e = openTest(t, dir, o)
			got, damage := readOn(t, e)
			if len(got) != len(want) || len(damage) != 0 {
				t.Fatalf("%s, %d bytes cut: got %d events and damage %v, want %d events", name, cut+1, len(got), damage, len(want))
			}
			checkFound(t, e, want)
			if _, err := e.Find(t.Context(), "orders", last[0].Id); !errors.Is(err, bus.ErrUnknownEvent) {
				t.Fatalf("find what was cut: got %v, want %v", err, bus.ErrUnknownEvent)
			}
			if got := e.Inspect("orders").TornTails; got != 1 {
				t.Errorf("got %d torn tails, want 1", got)
			}
			wantLogged(t, &j, "unfinished commit", "namespace=orders", "saved_to=")
			if again := mustAppend(t, e, strange(20, 5)...); again[0].Index != 21 {
				t.Fatalf("got index %d after the cut, want 21", again[0].Index)
			}
			mustClose(t, e)
		}
	}
}

func TestDamageIsReportedWithItsIndexesAndReadingGoesOn(t *testing.T) {
	for name, sealing := range sealings {
		dir := t.TempDir()
		e := openTest(t, dir, Options{Sealing: sealing})
		var want []bus.Event
		for i := range 30 {
			want = append(want, mustAppend(t, e, strange(i*4, 4)...)...)
		}
		mustClose(t, e)
		log := readFile(t, dir, "orders.log")
		log[len(log)/2] ^= 1
		writeFile(t, log, dir, "orders.log")

		e = openTest(t, dir, Options{Sealing: sealing})
		got, damage := readOn(t, e)
		if len(damage) != 1 || damage[0].Namespace != "orders" || damage[0].Next-damage[0].From != 4 || len(got) != len(want)-4 {
			t.Fatalf("%s: got %d events and damage %v, want %d events and 4 lost", name, len(got), damage, len(want)-4)
		}
		var corrupt *immuta.CorruptError
		if !errors.As(damage[0], &corrupt) || corrupt.Offset == 0 {
			t.Errorf("%s: got %v, wanted file and offset", name, damage[0])
		}
		checkFound(t, e, got)
		r := e.Reader("orders", damage[0].From+2)
		defer r.Close()
		if _, err := r.Next(); !errors.As(err, &damage[0]) || damage[0].Next-damage[0].From != 2 {
			t.Errorf("%s: from within: got %v, want 2 lost", name, err)
		}
		mustClose(t, e)
		checkVerify(t, dir, sealing, func(r *Report) bool { return !r.Good() && len(r.Damage) == 1 && r.Decoded })
	}
}

func TestADamagedEndTakesNoMoreAndIsLeftAsItIs(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{})
	kept := mustAppend(t, e, strange(0, 30)...)
	mustAppend(t, e, strange(30, 3)...)
	mustClose(t, e)
	log := readFile(t, dir, "orders.log")
	log[len(log)-20] ^= 1
	writeFile(t, log, dir, "orders.log")

	var j journal
	e = openTest(t, dir, Options{Logger: j.logger()})
	got, damage := readOn(t, e)
	if len(got) != len(kept) || len(damage) != 1 || damage[0].From != uint64(len(kept)+1) || damage[0].Next != 0 {
		t.Errorf("got %d events and damage %v, want %d and damage to the end", len(got), damage, len(kept))
	}
	checkFound(t, e, kept)
	if err := e.Append(t.Context(), "orders", strange(33, 1)); !errors.Is(err, bus.ErrStorage) || !strings.Contains(err.Error(), "orders.log is damaged at offset") {
		t.Errorf("got %v, want %v with file and offset", err, bus.ErrStorage)
	}
	if got := e.Inspect("orders").Problem; !strings.Contains(got, "damaged at offset") {
		t.Errorf("got problem %q, wanted the damage", got)
	}
	mustClose(t, e)
	if !bytes.Equal(readFile(t, dir, "orders.log"), log) {
		t.Error("the damaged file was written to")
	}
	wantLogged(t, &j, "damaged at offset")
}

func checkVerify(t *testing.T, dir string, sealing immuta.Sealing, good func(r *Report) bool) {
	t.Helper()
	r, err := Verify(dir, "orders", sealing)
	if err != nil || !good(&r) {
		t.Errorf("verify: got %+v, %v", r, err)
	}
}

func TestVerifySaysWhatIsGood(t *testing.T) {
	for _, sealing := range sealings {
		dir := t.TempDir()
		e := openTest(t, dir, Options{Sealing: sealing})
		mustAppend(t, e, strange(0, 50)...)
		// Also beside the one that writes.
		checkVerify(t, dir, sealing, func(r *Report) bool { return r.Good() && r.Records == 50 && r.Decoded && r.Namespace == "orders" })
		mustClose(t, e)
		if sealing != nil {
			checkVerify(t, dir, nil, func(r *Report) bool { return r.Good() && !r.Decoded && r.Checked == immuta.CheckedOuter })
		}
	}
	if _, err := Verify(t.TempDir(), "orders", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: got %v, want %v", err, fs.ErrNotExist)
	}
}

func TestARecordThatIsNoEventIsDamageOfOneIndex(t *testing.T) {
	dir := t.TempDir()
	good := mustRecord(t, testEvent("orders.created", "1"))
	l, err := immuta.Open(dir, "orders", immuta.Options{})
	if err != nil {
		t.Fatal(err)
	}
	records := [][]byte{good, {2, 0, 0}, []byte("anything"), good, append(bytes.Clone(good[:3]), "orders.cr>ated"...), good}
	if _, err := l.Append(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	e := openTest(t, dir, Options{})
	got, damage := readOn(t, e)
	var text string
	for _, ev := range got {
		text += fmt.Sprint(ev.Index, " ")
	}
	for _, d := range damage {
		text += fmt.Sprintf("[%d,%d) ", d.From, d.Next)
	}
	if want := "1 4 6 [2,3) [3,4) [5,6) "; text != want {
		t.Errorf("got %s, want %s", text, want)
	}
	if _, err := e.Find(t.Context(), "orders", "x"); !errors.Is(err, bus.ErrUnknownEvent) {
		t.Errorf("find: got %v, want %v", err, bus.ErrUnknownEvent)
	}
	mustClose(t, e)
	checkVerify(t, dir, nil, func(r *Report) bool { return !r.Good() && r.Strange == 3 && r.Unreadable[2].From == 5 })
}

// failFS fails writes and syncs of logs with an error while there is one.
type failFS struct {
	immuta.FS
	write, sync, truncate atomic.Pointer[error]
}

type failFile struct {
	immuta.File
	fs *failFS
}

func (f *failFS) OpenFile(path string, flag int, perm fs.FileMode) (immuta.File, error) {
	file, err := f.FS.OpenFile(path, flag, perm)
	if err != nil || !strings.HasSuffix(path, ".log") && !strings.HasSuffix(path, ".log.tmp") {
		return file, err
	}
	return failFile{file, f}, nil
}

func (f failFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.write.Load(); err != nil {
		n, _ := f.File.WriteAt(p[:len(p)/2], off)
		return n, *err
	}
	return f.File.WriteAt(p, off)
}

func (f failFile) Truncate(size int64) error {
	if err := f.fs.truncate.Load(); err != nil {
		return *err
	}
	return f.File.Truncate(size)
}

func (f failFile) Datasync() error {
	if err := f.fs.sync.Load(); err != nil {
		return *err
	}
	return f.File.Datasync()
}

func openFailing(t *testing.T) (*Engine, *failFS, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, derivedDir), 0o700); err != nil {
		t.Fatal(err)
	}
	f := &failFS{FS: immuta.OS()}
	return openTest(t, dir, Options{FS: f}), f, dir
}

func TestAFullDiskIsAnsweredAndTheNextAppendWorks(t *testing.T) {
	e, f, _ := openFailing(t)
	mustAppend(t, e, strange(0, 3)...)
	var full error = &fs.PathError{Op: "write", Path: "orders.log", Err: syscall.ENOSPC}
	f.write.Store(&full)
	events := strange(3, 3)
	if err := e.Append(t.Context(), "orders", events); !errors.Is(err, bus.ErrInsufficientSpace) || events[0].Index != 0 {
		t.Errorf("got %v and index %d, want %v", err, events[0].Index, bus.ErrInsufficientSpace)
	}
	f.write.Store(nil)
	if got := mustAppend(t, e, events...); got[0].Index != 4 {
		t.Errorf("got index %d, want 4", got[0].Index)
	}
	checkFound(t, e, events)
	if got := e.Inspect("orders").Problem; got != "" {
		t.Errorf("got problem %q, want none", got)
	}
}

func TestAFailedSyncEndsAppendingAndReadingGoesOn(t *testing.T) {
	e, f, dir := openFailing(t)
	kept := mustAppend(t, e, strange(0, 3)...)
	var broken error = syscall.EIO
	f.sync.Store(&broken)
	for range 2 {
		err := e.Append(t.Context(), "orders", strange(3, 1))
		be, ok := bus.AsError(err)
		if !ok || !errors.Is(err, bus.ErrStorage) || !strings.Contains(be.Detail, "started again") || !strings.Contains(be.Detail, syscall.EIO.Error()) {
			t.Fatalf("got %v, want %v and what to do", err, bus.ErrStorage)
		}
		f.sync.Store(nil) // a sync that works again proves nothing about what the first one lost
	}
	if got, _ := readOn(t, e); len(got) != 3 {
		t.Errorf("got %d events, want 3", len(got))
	}
	if got := e.Inspect("orders").Problem; !strings.Contains(got, syscall.EIO.Error()) {
		t.Errorf("got problem %q, wanted the cause", got)
	}
	checkFound(t, e, kept)
	e.Close()
	e = openTest(t, dir, Options{})
	checkFound(t, e, kept)
	mustAppend(t, e, testEvent("orders.created", "1"))
}

func TestAFullDiskThatCannotBeTidiedEndsAppending(t *testing.T) {
	e, f, _ := openFailing(t)
	mustAppend(t, e, strange(0, 3)...)
	var full, broken error = syscall.ENOSPC, syscall.EIO
	f.write.Store(&full)
	f.truncate.Store(&broken)
	if err := e.Append(t.Context(), "orders", strange(3, 3)); !errors.Is(err, bus.ErrStorage) {
		t.Errorf("got %v, want %v", err, bus.ErrStorage)
	}
}

func TestAnIndexOfIDsThatCannotBeWrittenCostsNoEvent(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, []byte("in the way"), dir, derivedDir)
	var j journal
	e := openTest(t, dir, Options{FS: immuta.OS(), Logger: j.logger()})
	want := mustAppend(t, e, strange(0, 40)...)
	checkFound(t, e, want)
	mustClose(t, e)
	wantLogged(t, &j, "could not be set aside", "namespace=orders")
	checkFound(t, openTest(t, dir, Options{ReadOnly: true}), want)
}
