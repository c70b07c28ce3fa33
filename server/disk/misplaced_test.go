package disk

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/bus"
	"example.com/bus/immuta"
)

const sector = 512

// sectored makes a log of some twenty sectors and returns its events as text.
func sectored(t *testing.T, sealing immuta.Sealing) (log []byte, want []string) {
	t.Helper()
	dir := t.TempDir()
	e := openTest(t, dir, Options{Sealing: sealing, BlockSize: 256}) // synced, so that only the last commit may be torn
	for i := range 24 {
		events := mustAppend(t, e, testEvent("orders.created", `"`+strings.Repeat(string(rune('a'+i%26)), 100+7*i)+`"`))
		want = append(want, string(events[0].AppendJSON(nil)))
	}
	mustClose(t, e)
	return readFile(t, dir, "orders.log"), want
}

// checkMisplaced opens a log with something in the wrong place. What is read
// must be what was stored there, and what is not read must be reported.
func checkMisplaced(t *testing.T, what string, log []byte, want []string, sealing immuta.Sealing) {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, log, dir, "orders.log")
	var j journal
	e, err := Open(dir, Options{Namespaces: []string{"orders"}, Sealing: sealing, Logger: j.logger(), Durability: mustDurability(t, "os")})
	if err != nil {
		wantPlace(t, what, err)
		return
	}
	defer mustClose(t, e)
	got, damage := readOn(t, e)
	for i := range got {
		if text := string(got[i].AppendJSON(nil)); text != want[got[i].Index-1] {
			t.Fatalf("%s: got %s at index %d, want %s", what, text, got[i].Index, want[got[i].Index-1])
		}
	}
	for _, d := range damage {
		wantPlace(t, what, d)
	}
	torn := e.Inspect("orders").TornTails == 1 && len(got) >= len(want)-3 // by nature: the sector of the last commits, of which it holds three
	if len(got) != len(want) && len(damage) == 0 && !torn {
		t.Errorf("%s: got %d events of %d and no damage; log: %s", what, len(got), len(want), j.String())
	}
}

func wantPlace(t *testing.T, what string, err error) {
	t.Helper()
	if _, is := errors.AsType[*immuta.CorruptError](err); !is && !strings.Contains(err.Error(), "index") || !strings.Contains(err.Error(), "orders.log") {
		t.Errorf("%s: got %v, wanted file and offset", what, err)
	}
}

func TestASectorThatIsZeroDoubledOrSwappedIsReportedAndNeverServed(t *testing.T) {
	for name, sealing := range sealings {
		log, want := sectored(t, sealing)
		sectors := len(log) / sector
		at := func(b []byte, i int) []byte { return b[i*sector : (i+1)*sector] }
		for i := range sectors {
			zeroed := bytes.Clone(log)
			clear(at(zeroed, i))
			checkMisplaced(t, name+" zeroed", zeroed, want, sealing)
			for _, apart := range []int{1, 2, 7} {
				k := (i + apart) % sectors
				doubled, swapped := bytes.Clone(log), bytes.Clone(log)
				copy(at(doubled, i), at(log, k))
				checkMisplaced(t, name+" doubled", doubled, want, sealing)
				copy(at(swapped, i), at(log, k))
				copy(at(swapped, k), at(log, i))
				checkMisplaced(t, name+" swapped", swapped, want, sealing)
			}
			inserted := append(bytes.Clone(log[:i*sector]), at(log, i)...)
			checkMisplaced(t, name+" inserted", append(inserted, log[i*sector:]...), want, sealing)
			removed := append(bytes.Clone(log[:i*sector]), log[(i+1)*sector:]...)
			checkMisplaced(t, name+" removed", removed, want, sealing)
		}
	}
}

// twoLogs are those of app and orders, with an event each.
func twoLogs(t *testing.T, sealing immuta.Sealing) (dir string) {
	t.Helper()
	dir = t.TempDir()
	e := openTest(t, dir, Options{Namespaces: []string{"app", "orders"}, Sealing: sealing})
	mustAppend(t, e, testEvent("orders.created", `"of orders"`))
	mustAppend(t, e, testEvent("app.created", `"of app"`))
	mustClose(t, e)
	return dir
}

func TestALogThatWasSwappedWithAnothersIsReportedAndNeverServed(t *testing.T) {
	for name, sealing := range sealings {
		dir := twoLogs(t, sealing)
		app, orders := readFile(t, dir, "app.log"), readFile(t, dir, "orders.log")
		writeFile(t, orders, dir, "app.log")
		writeFile(t, app, dir, "orders.log")
		e, err := Open(dir, Options{Namespaces: []string{"app", "orders"}, Sealing: sealing})
		if sealing != nil { // a sealed header says whose it is
			if err == nil || !strings.Contains(err.Error(), "app.log is damaged at offset 0") {
				t.Errorf("%s: got %v, wanted file and offset", name, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, namespace := range []string{"app", "orders"} {
			r := e.Reader(namespace, 1)
			events, err := r.Next()
			r.Close()
			if _, is := errors.AsType[*bus.DamageError](err); !is || len(events) != 0 || !strings.Contains(err.Error(), "another namespace") && !strings.Contains(err.Error(), namespace) {
				t.Errorf("%s: got %d events and %v, want damage that says whose file it is", name, len(events), err)
			}
		}
		mustClose(t, e)
	}
}

func TestARenamedSealedLogIsRefused(t *testing.T) {
	dir := twoLogs(t, fakeSealing{"secret"})
	if err := os.Rename(filepath.Join(dir, "app.log"), filepath.Join(dir, "users.log")); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, dir, Options{Namespaces: []string{"users"}, Sealing: fakeSealing{"secret"}}, "users.log", "offset 0", "renamed")
}

// An older copy of a log looks like the log of that day. What is beside it does
// not: neither its index nor the ids that are known are believed.
func TestAnOlderCopyOfALogIsReadAsItIsWhateverStandsBesideIt(t *testing.T) {
	for name, sealing := range sealings {
		dir := t.TempDir()
		e := openTest(t, dir, Options{Sealing: sealing})
		mustAppend(t, e, strange(0, 20)...)
		mustClose(t, e)
		older := readFile(t, dir, "orders.log")
		e = openTest(t, dir, Options{Sealing: sealing})
		lost := mustAppend(t, e, strange(20, 20)...)
		mustClose(t, e)
		writeFile(t, older, dir, "orders.log")
		e = openTest(t, dir, Options{Sealing: sealing})
		if got, damage := readOn(t, e); len(got) != 20 || len(damage) != 0 {
			t.Errorf("%s: got %d events and %v, want the 20 of that day", name, len(got), damage)
		}
		for _, event := range lost {
			if _, err := e.Find(t.Context(), "orders", event.Id); !errors.Is(err, bus.ErrUnknownEvent) {
				t.Errorf("%s: find %s: got %v, want %v", name, event.Id, err, bus.ErrUnknownEvent)
			}
		}
		if again := mustAppend(t, e, strange(40, 1)...); again[0].Index != 21 {
			t.Errorf("%s: got index %d, want 21", name, again[0].Index)
		}
	}
}
