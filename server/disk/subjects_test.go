package disk

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"example.com/bus"
	"example.com/bus/immuta"
)

// smallGroups are of ten events, and saved at once.
func smallGroups(o Options) Options {
	o.saveAt = saveLimits{entries: 1, events: 1, bytes: 1 << 20}
	o.cutAt = groupLimits{events: 10, bytes: 1 << 20, hashes: 8, held: 1000}
	return o
}

// common returns events of two subjects, and one of a third in the middle.
func common(n int) []bus.Event {
	events := make([]bus.Event, n)
	for i := range events {
		events[i] = testEvent([]string{"orders.eu.created", "orders.eu.paid"}[i%2], `{"a":1}`)
	}
	events[n/2].Subject = "orders.rare.secret-word"
	return events
}

func skipOne(t testing.TB, e *Engine, from uint64, text string) (at, until uint64) {
	t.Helper()
	p, err := bus.ParsePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return e.Skip("orders", from, []bus.Pattern{p})
}

func wantSkip(t testing.TB, e *Engine, from uint64, text string, want uint64) {
	t.Helper()
	if at, _ := skipOne(t, e, from, text); at != want {
		t.Errorf("%s from %d: got %d, want %d", text, from, at, want)
	}
}

func TestOnlyTheGroupOfARareSubjectIsRead(t *testing.T) {
	for name, sealing := range sealings {
		t.Run(name, func(t *testing.T) {
			dir, o := t.TempDir(), smallGroups(Options{Sealing: sealing})
			e := openTest(t, dir, o)
			mustAppend(t, e, common(100)...)
			for life := range 3 {
				awaitSubjects(t, e)
				for text, want := range map[string]uint64{
					"orders.rare.secret-word": 51, "orders.rare.*": 51, "orders.rare.>": 51, "orders.rare.secret-word.>": 101,
					"orders.none": 101, "orders.none.*": 101, "orders.rare": 101, "orders.eu.created": 1, "orders.eu.>": 1, "orders.*.paid": 1, "orders.>": 1,
				} {
					wantSkip(t, e, 1, text, want)
				}
				if at, until := skipOne(t, e, 55, "orders.rare.*"); at != 55 || until != 61 {
					t.Errorf("life %d: in the middle of the group: got %d, %d, want 55, 61", life, at, until)
				}
				mustClose(t, e)
				e = openTest(t, dir, o)
			}
		})
	}
}

func TestTheSavedIndexOfSubjectsTellsNoSubject(t *testing.T) {
	for name, sealing := range sealings {
		dir := t.TempDir()
		e := openTest(t, dir, smallGroups(Options{Sealing: sealing}))
		mustAppend(t, e, common(100)...)
		mustClose(t, e)
		key := e.log("orders").subjects.key // its goroutine has ended
		file := readFile(t, dir, derivedDir, "orders.subjects.log")
		if bytes.Contains(file, []byte("secret-word")) {
			t.Errorf("%s: the file has a subject in the clear", name)
		}
		// Who has the key of the hashes can try subjects out.
		if sealing != nil && bytes.Contains(file, key[:]) {
			t.Errorf("%s: the file has the key of the hashes in the clear", name)
		}
	}
}

func TestALogThatFillsNoGroupHasNoIndexOfSubjects(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		e := openTest(t, dir, smallGroups(Options{}))
		mustAppend(t, e, common(3)...)
		mustClose(t, e)
	}
	for _, file := range []string{"orders.subjects.log", "orders.subjects.idx"} {
		if _, err := os.Stat(filepath.Join(dir, derivedDir, file)); err == nil {
			t.Errorf("%s was made for 9 events", file)
		}
	}
}

// TestALostOrDamagedIndexOfSubjectsIsMadeAnew also finds the last one set aside.
func TestALostOrDamagedIndexOfSubjectsIsMadeAnew(t *testing.T) {
	for name, damage := range map[string]func(data []byte) []byte{
		"empty":           func(data []byte) []byte { return nil },
		"no log":          func(data []byte) []byte { return []byte("hello") },
		"cut in the head": func(data []byte) []byte { return data[:140] },
		"a bit flipped":   func(data []byte) []byte { data[300] ^= 4; return data },
	} {
		t.Run(name, func(t *testing.T) {
			for _, sealing := range sealings {
				dir, o := t.TempDir(), smallGroups(Options{Sealing: sealing})
				e := openTest(t, dir, o)
				mustAppend(t, e, common(100)...)
				mustClose(t, e)
				writeFile(t, damage(readFile(t, dir, derivedDir, "orders.subjects.log")), dir, derivedDir, "orders.subjects.log")
				var j journal
				o.Logger = j.logger()
				e = openTest(t, dir, o)
				awaitSubjects(t, e)
				wantSkip(t, e, 1, "orders.rare.*", 51)
				mustClose(t, e)
				wantLogged(t, &j, "the index of subjects cannot be used and is made anew")
				if _, err := os.Stat(filepath.Join(dir, derivedDir, "orders.subjects.log.stale")); err != nil {
					t.Errorf("the one set aside: %v", err)
				}
				before := j.String()
				e = openTest(t, dir, o)
				awaitSubjects(t, e)
				wantSkip(t, e, 1, "orders.rare.*", 51)
				if got := e.log("orders").subjects.onDisk; got != 10 || j.String() != before {
					t.Errorf("got %d groups saved and log %q, want 10 and no more than %q", got, j.String(), before)
				}
			}
		})
	}
}

// TestReadingOnlyKnowsNoSubjects: it must not read a long log for nothing.
func TestReadingOnlyKnowsNoSubjects(t *testing.T) {
	dir, o := t.TempDir(), smallGroups(Options{})
	e := openTest(t, dir, o)
	mustAppend(t, e, common(100)...)
	mustClose(t, e)
	before := readFile(t, dir, derivedDir, "orders.subjects.log")
	o.ReadOnly = true
	e = openTest(t, dir, o)
	wantSkip(t, e, 3, "orders.rare.*", 3)
	mustClose(t, e)
	if got := readFile(t, dir, derivedDir, "orders.subjects.log"); !bytes.Equal(got, before) {
		t.Error("the saved index was written to")
	}
}

func TestWhatIsHeldOfSubjectsInMemoryIsBounded(t *testing.T) {
	dir, o := t.TempDir(), smallGroups(Options{})
	o.cutAt.hashes, o.cutAt.held = 100, 64
	e := openTest(t, dir, o)
	for n := range 50 {
		events := make([]bus.Event, 10)
		for i := range events {
			events[i] = testEvent(fmt.Sprintf("orders.c%d.created", n*10+i), "1")
		}
		mustAppend(t, e, events...)
	}
	for range 3 {
		mustClose(t, e) // everything is saved
		e = openTest(t, dir, o)
		awaitSubjects(t, e)
		c := e.log("orders").subjects.chain
		held := 0
		for _, g := range c.groups {
			held += len(g.hashes)
		}
		if held > 64 || held != c.held || len(c.groups) != 50 {
			t.Errorf("got %d hashes held, counted as %d, in %d groups, want at most 64 in 50", held, c.held, len(c.groups))
		}
		wantSkip(t, e, 1, "orders.c307.created", 301) // from the derived log
		wantSkip(t, e, 1, "orders.c307.*", 301)
		wantSkip(t, e, 1, "orders.c499.>", 491)
		wantSkip(t, e, 120, "orders.c7.>", 501)
	}
}

func TestAGroupOfTooManySubjectsSaysAnything(t *testing.T) {
	dir, o := t.TempDir(), smallGroups(Options{})
	e := openTest(t, dir, o)
	events := common(30)
	for i := range 10 {
		events[10+i].Subject = fmt.Sprintf("orders.c%d.created", i)
	}
	mustAppend(t, e, events...)
	awaitSubjects(t, e)
	for range 2 {
		wantSkip(t, e, 1, "orders.none", 11)
		wantSkip(t, e, 21, "orders.none", 31)
		mustClose(t, e)
		e = openTest(t, dir, o)
		awaitSubjects(t, e)
	}
}

// TestNobodyWaitsForTheIndexOfSubjects holds back what is read of it.
func TestNobodyWaitsForTheIndexOfSubjects(t *testing.T) {
	dir, o := t.TempDir(), smallGroups(Options{})
	e := openTest(t, dir, o)
	mustAppend(t, e, common(100)...)
	mustClose(t, e)
	gate := &gateFS{FS: immuta.OS(), open: make(chan struct{}), seen: make(chan struct{})}
	o.FS = gate
	e = openTest(t, dir, o)
	<-gate.seen
	wantSkip(t, e, 1, "orders.rare.*", 1)
	mustAppend(t, e, common(100)...)
	wantSkip(t, e, 1, "orders.rare.*", 1)
	close(gate.open)
	awaitSubjects(t, e)
	wantSkip(t, e, 1, "orders.rare.*", 51)
	wantSkip(t, e, 61, "orders.rare.*", 151)
	wantSkip(t, e, 161, "orders.rare.*", 201)
}

// TestALongRebuildOfSubjectsDoesNotKeepAnEngineOpen: each life goes on where the
// last one stopped.
func TestALongRebuildOfSubjectsDoesNotKeepAnEngineOpen(t *testing.T) {
	dir, o := t.TempDir(), smallGroups(Options{Durability: mustDurability(t, "os")})
	e := openTest(t, dir, o)
	for range 100 {
		mustAppend(t, e, common(100)...)
	}
	mustClose(t, e)
	for _, file := range []string{"orders.subjects.log", "orders.subjects.idx"} {
		if err := os.Remove(filepath.Join(dir, derivedDir, file)); err != nil {
			t.Fatal(err)
		}
	}
	o.saveAt.bytes, o.cutAt.events = 20_000, 100
	lives, last := 0, uint64(0)
	for ; last != 10_001; lives++ {
		e := openTest(t, dir, o)
		mustClose(t, e)
		got := e.log("orders").subjects.saved
		if got <= last {
			t.Fatalf("life %d: got subjects known up to index %d, after %d", lives, got, last)
		}
		last = got
	}
	e = openTest(t, dir, o)
	awaitSubjects(t, e)
	wantSkip(t, e, 1, "orders.none", 10_001)
}

// TestDamageInAGroupIsPassedOverOnlyWhenItWasGoodBefore: then it is known what is
// lost.
func TestDamageInAGroupIsPassedOverOnlyWhenItWasGoodBefore(t *testing.T) {
	dir, o := t.TempDir(), smallGroups(Options{BlockSize: 1})
	e := openTest(t, dir, o)
	mustAppend(t, e, common(100)...)
	mustClose(t, e)
	loser(o)(t, dir, "orders", 23)
	e = openTest(t, dir, o)
	awaitSubjects(t, e)
	wantSkip(t, e, 1, "orders.rare.*", 51)
	wantSkip(t, e, 1, "orders.eu.created", 1)
	mustClose(t, e)
	if err := os.Remove(filepath.Join(dir, derivedDir, "orders.subjects.log")); err != nil {
		t.Fatal(err)
	}
	e = openTest(t, dir, o)
	awaitSubjects(t, e)
	wantSkip(t, e, 1, "orders.rare.*", 21)
	wantSkip(t, e, 31, "orders.rare.*", 51)
}

func TestHashesAreSortedHoweverManyThereAre(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var spare []uint32
	for _, n := range []int{0, 1, 255, 256, 257, 10_000} {
		hashes := make([]uint32, n)
		for i := range hashes {
			hashes[i] = r.Uint32() >> r.IntN(32)
		}
		want := slices.Sorted(slices.Values(hashes))
		if spare = sortHashes(hashes, spare); !slices.Equal(hashes, want) {
			t.Errorf("%d hashes: they are not in order", n)
		}
	}
}
