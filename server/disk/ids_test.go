package disk

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"example.com/bus"
)

func foreignID(incarnation, index uint64) string {
	return bus.FormatID(bus.Position{Incarnation: incarnation, Index: index})
}

// places returns all places where the set says that the id may be.
func places(s *idSet, id string) []uint64 {
	var all []uint64
	for at, ok := s.next(id, 0); ok; at, ok = s.next(id, at) {
		all = append(all, at)
	}
	return all
}

// drawIDs makes ids as they come: restored logs in stretches, filtered copies
// with gaps, ids of publishers, and any of them again.
func drawIDs(t *rapid.T) []string {
	var ids []string
	for range rapid.IntRange(1, 30).Draw(t, "stretches") {
		incarnation := rapid.Uint64Range(1, 3).Draw(t, "incarnation")
		from := rapid.Uint64Range(1, 400).Draw(t, "from")
		step := rapid.Uint64Range(1, 2).Draw(t, "step")
		for i := range rapid.Uint64Range(1, 60).Draw(t, "length") {
			ids = append(ids, foreignID(incarnation, from+i*step))
		}
		if rapid.Bool().Draw(t, "named") {
			ids = append(ids, rapid.StringMatching(`[a-c]{1,2}`).Draw(t, "name"))
		}
	}
	return ids
}

func TestEveryIDIsFoundAtEveryPlaceItWasStored(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newIDSet(hashKey{1})
		want := map[string][]uint64{}
		for i, id := range drawIDs(t) {
			local := uint64(i + 1)
			s.add(id, local)
			want[id] = append(want[id], local)
		}
		for id, at := range want {
			if got := places(s, id); !slices.Equal(got, at) {
				t.Fatalf("%s: got places %v, want %v", id, got, at)
			}
		}
		for incarnation := range uint64(5) {
			for index := range uint64(600) {
				if id := foreignID(incarnation, index+1); want[id] == nil && places(s, id) != nil {
					t.Fatalf("%s was never stored: got places %v", id, places(s, id))
				}
			}
		}
	})
}

func TestWhatIsSavedInPartsIsAllThereIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, copied := newIDSet(hashKey{1}), newIDSet(hashKey{1})
		known := span{from: 1, next: 1}
		ids := drawIDs(t)
		save := func(next uint64) {
			if next <= known.next {
				return
			}
			runs, hashes := s.takeFresh(next)
			for _, record := range deltas(known.next, span{next: next, at: testTime}, runs, hashes) {
				var err error
				if known, err = copied.loadDelta(record, known); err != nil {
					t.Fatal(err)
				}
			}
			if known.next != next {
				t.Fatalf("got index %d covered, want %d", known.next, next)
			}
		}
		for i, id := range ids {
			s.add(id, uint64(i+1))
			if rapid.IntRange(0, 20).Draw(t, "save") == 0 {
				save(uint64(i + 2))
			}
		}
		save(uint64(len(ids) + 1))
		for _, id := range ids {
			if got, want := places(copied, id), places(s, id); !slices.Equal(got, want) {
				t.Fatalf("%s: got places %v after loading, want %v", id, got, want)
			}
		}
	})
}

func TestARestoredLogIsOneRun(t *testing.T) {
	s := newIDSet(hashKey{})
	for i := range uint64(100_000) {
		s.add(foreignID(7, 500+i), 10+i)
	}
	runs, hashes := s.takeFresh(1 << 40)
	if want := (run{incarnation: 7, foreign: 500, local: 10, count: 100_000}); len(runs) != 1 || runs[0] != want || len(hashes) != 0 {
		t.Errorf("got runs %+v and %d hashes, want one run %+v", runs, len(hashes), want)
	}
}

func TestRunsThatContinueEachOtherAreMerged(t *testing.T) {
	s := newIDSet(hashKey{})
	for i := range uint64(4 * levelBuffer) {
		s.add(foreignID(7, 1+2*i), 1+2*i)
		s.add(foreignID(7, 2+2*i), 2+2*i)
		s.finishRun() // as saving does
	}
	total := 0
	for _, sorted := range s.runs.sorted {
		total += len(sorted)
	}
	if total > 3 {
		t.Errorf("got %d runs for one restored log, wanted next to none", total)
	}
	if got := places(s, foreignID(7, 1000)); !slices.Equal(got, []uint64{1000}) {
		t.Errorf("got %v, want [1000]", got)
	}
}

func TestIDsInTheWorstOrderStaySortedInFewSlices(t *testing.T) {
	s := newIDSet(hashKey{})
	const n = 100_000
	for i := range uint64(n) {
		s.add(foreignID(7, 2*(n-i)), i+1)
	}
	if got := len(s.hashes.sorted); got > 12 {
		t.Errorf("got %d slices for %d ids, wanted at most 12", got, n)
	}
	if got := places(s, foreignID(7, 2)); !slices.Equal(got, []uint64{n}) {
		t.Errorf("got %v, want [%d]", got, n)
	}
}

func TestKnownRangesMergeInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s spans
		known := map[uint64]bool{}
		for range rapid.IntRange(1, 40).Draw(t, "appends") {
			from := rapid.Uint64Range(1, 60).Draw(t, "from")
			next := from + rapid.Uint64Range(0, 8).Draw(t, "length")
			s.add(span{from: from, next: next, at: testTime.Add(1000 * (1 << 20))})
			for i := from; i < next; i++ {
				known[i] = true
			}
			want := uint64(1)
			for known[want] {
				want++
			}
			if got := s.prefix().next; got != want {
				t.Fatalf("got %d known from the start, want %d: %+v", got, want, s.list)
			}
			for i := 1; i < len(s.list); i++ {
				if s.list[i].from <= s.list[i-1].next {
					t.Fatalf("got neighbours that touch: %+v", s.list)
				}
			}
		}
	})
}

func TestAPrefixHasTheTimeOfItsLastEvent(t *testing.T) {
	var s spans
	for _, i := range []uint64{3, 1, 4, 2} {
		s.add(span{from: i, next: i + 1, at: testTime.Add(1 << i)})
	}
	if got, want := s.prefix(), (span{from: 1, next: 5, at: testTime.Add(1 << 4)}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func FuzzIDRecords(f *testing.F) {
	f.Add(appendHead(nil, derivedHead{log: 1, key: hashKey{2}}))
	for _, record := range deltas(1, span{next: 9, at: testTime}, []run{{1, 2, 3, 4}}, []hashed{{5, 6}}) {
		f.Add(record)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if h, err := parseHead(data); err == nil && string(appendHead(nil, h)) != string(data) {
			t.Errorf("head %x has two spellings", data)
		}
		if d, err := parseIDDelta(data); err == nil && string(appendIDDelta(nil, d)) != string(data) {
			t.Errorf("delta %x has two spellings", data)
		}
	})
}

func TestADeltaThatDoesNotFollowIsRefused(t *testing.T) {
	for _, d := range []span{{from: 4, next: 9}, {from: 6, next: 9}, {from: 5, next: 4}} {
		d.at = testTime
		if _, err := newIDSet(hashKey{}).loadDelta(appendIDDelta(nil, idDelta{span: d}), span{from: 1, next: 5}); err == nil {
			t.Errorf("delta [%d, %d) after index 5: got no error", d.from, d.next)
		}
	}
}

func BenchmarkAddRestored(b *testing.B) {
	s := newIDSet(hashKey{})
	i := uint64(0)
	for b.Loop() {
		i++
		s.add(foreignID(7, i), i)
	}
}

func BenchmarkAddChosen(b *testing.B) {
	s := newIDSet(hashKey{})
	s.quiet = true
	i := uint64(0)
	for b.Loop() {
		i++
		s.add(fmt.Sprintf("order-%d", i), i)
	}
}
