package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/bus"
)

// A skipLife is a log that goes through what may become of one, and its events
// as they were stored: also those that are lost by now.
type skipLife struct {
	t   *testing.T
	r   *rand.Rand
	o   Options
	dir string
	e   *Engine
	all []bus.Event
	old []copied // of before, to be put back
}

type copied struct {
	files map[string][]byte
	all   []bus.Event
}

// TestSkippingHidesNoEventWhateverBecomesOfTheFiles holds what may be skipped
// against all events, while files are lost, torn, turned, replaced and repaired.
func TestSkippingHidesNoEventWhateverBecomesOfTheFiles(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 1))
		l := &skipLife{t: t, r: r, dir: t.TempDir(), o: Options{
			Durability: mustDurability(t, "os"), BlockSize: 1 + r.IntN(300),
			saveAt: saveLimits{entries: 1 + r.IntN(3), events: 1 + r.Uint64N(40), bytes: 1 << 20},
			cutAt:  groupLimits{events: 1 + r.Uint64N(9), bytes: 30 + r.IntN(1000), hashes: 1 + r.IntN(12), held: r.IntN(60)},
		}}
		if seed%2 == 1 {
			l.o.Sealing = fakeSealing{"secret"}
		}
		l.open()
		steps := []func(){l.append, l.append, l.check, l.reopen, l.crash, l.spoilSaved, l.keep, l.putBack, l.putSavedBack, l.lose}
		for range 25 {
			steps[r.IntN(len(steps))]()
		}
		l.append()
		l.check()
		mustClose(t, l.e)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func (l *skipLife) open() {
	l.e = openTest(l.t, l.dir, l.o)
	if l.r.IntN(2) == 0 {
		awaitSubjects(l.t, l.e)
	}
	l.check()
}

func (l *skipLife) reopen() {
	mustClose(l.t, l.e)
	l.open()
}

func (l *skipLife) append() {
	for range 1 + l.r.IntN(4) {
		events := make([]bus.Event, 1+l.r.IntN(12))
		for i := range events {
			events[i] = testEvent([]string{
				"orders.eu.created", "orders.eu.paid", "orders.eu", "orders.us.a.b", fmt.Sprintf("orders.c%d.created", l.r.IntN(40)), "orders.rare",
			}[min(5, l.r.IntN(8))], `{"n":1}`)
		}
		if err := l.e.Append(l.t.Context(), "orders", events); err != nil {
			l.t.Fatal(err)
		}
		l.all = append(l.all, events...)
	}
}

// crash goes on with the files as they are, without a close.
func (l *skipLife) crash() {
	files := l.files()
	mustClose(l.t, l.e)
	l.restore(files)
	l.open()
}

func (l *skipLife) files() (files map[string][]byte) {
	files = map[string][]byte{}
	for _, dir := range []string{"", derivedDir} {
		entries, err := os.ReadDir(filepath.Join(l.dir, dir))
		if err != nil {
			l.t.Fatal(err)
		}
		for _, entry := range entries { // derived is the later copy: it may be ahead of its log
			data, err := os.ReadFile(filepath.Join(l.dir, dir, entry.Name()))
			if err == nil && !strings.HasSuffix(entry.Name(), ".tmp") { // it may just have been replaced
				files[filepath.Join(dir, entry.Name())] = data
			}
		}
	}
	return files
}

func (l *skipLife) restore(files map[string][]byte) {
	l.dir = l.t.TempDir()
	if err := os.Mkdir(filepath.Join(l.dir, derivedDir), 0o700); err != nil {
		l.t.Fatal(err)
	}
	for name, data := range files {
		writeFile(l.t, data, l.dir, name)
	}
}

// spoilSaved does something to the files of the index while it is closed.
func (l *skipLife) spoilSaved() {
	mustClose(l.t, l.e)
	for _, ext := range []string{".log", ".idx"} {
		path := filepath.Join(l.dir, derivedDir, "orders"+subjectsSuffix+ext)
		data, err := os.ReadFile(path)
		if err != nil || len(data) == 0 || l.r.IntN(3) == 0 {
			continue
		}
		switch l.r.IntN(3) {
		case 0:
			os.Remove(path)
		case 1:
			writeFile(l.t, data[:l.r.IntN(len(data))], path)
		default:
			data[l.r.IntN(len(data))] ^= 1 << l.r.IntN(8)
			writeFile(l.t, data, path)
		}
	}
	l.open()
}

func (l *skipLife) keep() {
	mustClose(l.t, l.e)
	l.old = append(l.old, copied{l.files(), slices.Clone(l.all)})
	l.open()
}

// putBack puts an older copy of the log in its place, beside the newer index.
func (l *skipLife) putBack() {
	if len(l.old) == 0 {
		return
	}
	mustClose(l.t, l.e)
	old := l.old[l.r.IntN(len(l.old))]
	writeFile(l.t, old.files["orders.log"], l.dir, "orders.log")
	os.Remove(filepath.Join(l.dir, "orders.idx"))
	l.all = slices.Clone(old.all)
	l.open()
}

// putSavedBack puts an older copy of the index beside the newer log.
func (l *skipLife) putSavedBack() {
	if len(l.old) == 0 {
		return
	}
	mustClose(l.t, l.e)
	for name, data := range l.old[l.r.IntN(len(l.old))].files {
		if strings.Contains(name, subjectsSuffix) {
			writeFile(l.t, data, l.dir, name)
		}
	}
	l.open()
}

// lose damages a block of the log, looks, and has the log repaired.
func (l *skipLife) lose() {
	mustClose(l.t, l.e)
	log := readFile(l.t, l.dir, "orders.log")
	le, at := binary.LittleEndian, 128
	if check := int(le.Uint32(log[120:])); check > 0 {
		at += (check + 4 + 7) &^ 7
	}
	var bodies []int
	for ; at < len(log); at += 56 + (int(le.Uint32(log[at+8:]))+7)&^7 {
		if log[at+4] == 1 {
			bodies = append(bodies, at+60)
		}
	}
	if len(bodies) > 0 {
		log[bodies[l.r.IntN(len(bodies))]] ^= 8
		writeFile(l.t, log, l.dir, "orders.log")
	}
	if l.r.IntN(2) == 0 {
		l.open()
		mustClose(l.t, l.e)
	}
	if _, err := Repair(l.dir, "orders", l.o, true); err != nil {
		l.t.Fatal(err)
	}
	l.open()
	// A gap at the end may count more than there was.
	for _, next := l.e.Bounds("orders"); uint64(len(l.all)) < next-1; {
		l.all = append(l.all, bus.Event{})
	}
}

// check holds the answers against the events as they were stored: of a lost one
// that would have matched, the reader has to be told.
func (l *skipLife) check() {
	l.t.Helper()
	_, next := l.e.Bounds("orders")
	for _, text := range []string{"orders.eu.*", "orders.eu", "orders.rare", "orders.c7.created", "orders.c7.>", "orders.us.a.*", "orders.*.created", "orders.none"} {
		p, err := bus.ParsePattern(text)
		if err != nil {
			l.t.Fatal(err)
		}
		due := next
		for from := min(next-1, uint64(len(l.all))); from >= 1; from-- {
			if p.Match(l.all[from-1].Subject) {
				due = from
			}
			if at, until := l.e.Skip("orders", from, []bus.Pattern{p}); at < from || at > due || until < from {
				l.t.Fatalf("%s from %d: got %d, %d, want at most %d", text, from, at, until, due)
			}
		}
	}
	l.read()
}

// read follows the answers as a stream does, and wants every match that can be
// read.
func (l *skipLife) read() {
	p, err := bus.ParsePattern("orders.rare")
	if err != nil {
		l.t.Fatal(err)
	}
	var got, want []uint64
	r := l.e.Reader("orders", 1)
	defer r.Close()
	for name, indexes := range map[string]*[]uint64{"want": &want, "got": &got} {
		for at := uint64(1); ; {
			if name == "got" {
				at, _ = l.e.Skip("orders", at, []bus.Pattern{p})
			}
			r.Seek(at)
			events, err := r.Next()
			damage, is := errors.AsType[*bus.DamageError](err)
			if errors.Is(err, io.EOF) || is && damage.Next == 0 {
				break
			}
			if is {
				at = damage.Next
				continue
			}
			if err != nil {
				l.t.Fatal(err)
			}
			for _, e := range events {
				if at = e.Index + 1; p.Match(e.Subject) {
					*indexes = append(*indexes, e.Index)
				}
			}
		}
	}
	if !slices.Equal(got, want) {
		l.t.Fatalf("got events %v, want %v", got, want)
	}
}
