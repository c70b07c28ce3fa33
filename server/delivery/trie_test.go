package delivery

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"example.com/bus"
)

// randomPattern draws short segments from a small alphabet, so that patterns
// and subjects meet often.
func randomPattern(r *rand.Rand, wild bool) string {
	segments := []string{"a"}
	for n := 1 + r.IntN(4); n > 0; n-- {
		segment := string(rune('p' + r.IntN(3)))
		if wild && r.IntN(3) == 0 {
			segment = "*"
		}
		segments = append(segments, segment)
	}
	if wild && r.IntN(3) == 0 {
		segments[len(segments)-1] = ">"
	}
	return strings.Join(segments, ".")
}

func TestTrieAnswersAsPatternsDo(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		var tree trie
		type entry struct {
			p bus.Pattern
			k *sink
		}
		var entries []entry
		for range 1 + r.IntN(30) {
			e := entry{patterns(t, randomPattern(r, true))[0], &sink{}}
			tree.add(e.p, e.k)
			entries = append(entries, e)
		}
		for range r.IntN(len(entries)) {
			i := r.IntN(len(entries))
			tree.remove(entries[i].p, entries[i].k)
			entries = slices.Delete(entries, i, i+1)
		}
		for range 30 {
			subject := randomPattern(r, false)
			want := map[*sink]int{}
			for _, e := range entries {
				if e.p.Match(subject) {
					want[e.k]++
				}
			}
			got := map[*sink]int{}
			for _, k := range tree.match(nil, subject) {
				got[k]++
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("seed %d: %s: got %d matches, want %d", seed, subject, len(got), len(want))
			}
		}
		for _, e := range entries {
			tree.remove(e.p, e.k)
		}
		if !tree.root.empty() {
			t.Fatalf("seed %d: the trie keeps nodes of patterns that were removed", seed)
		}
	}
}

func FuzzTrieAnswersAsPatternsDo(f *testing.F) {
	f.Add("a.*.x a.> a.b", "a.b.x")
	f.Add("a.* a.b.* a.*.>", "a.b")
	f.Add("a.>", "a.")
	f.Fuzz(func(t *testing.T, texts, subject string) {
		var tree trie
		var all []bus.Pattern
		var sinks []*sink
		for text := range strings.FieldsSeq(texts) {
			p, err := bus.ParsePattern(text)
			if err != nil {
				return
			}
			all, sinks = append(all, p), append(sinks, &sink{})
			tree.add(p, sinks[len(sinks)-1])
		}
		matched := tree.match(nil, subject)
		for i, p := range all {
			if got, want := slices.Contains(matched, sinks[i]), p.Match(subject); got != want {
				t.Errorf("pattern %q, subject %q: got %v, want %v", p, subject, got, want)
			}
		}
	})
}

func BenchmarkMatchAmong10000Patterns(b *testing.B) {
	var tree trie
	for i := range 10_000 {
		text := fmt.Sprintf("a.%d.%d.created", i%100, i)
		switch i % 4 {
		case 1:
			text = fmt.Sprintf("a.%d.>", i)
		case 2:
			text = fmt.Sprintf("a.*.%d.created", i)
		}
		tree.add(patterns(b, text)[0], &sink{})
	}
	var matched []*sink
	b.ReportAllocs()
	for b.Loop() {
		matched = tree.match(matched[:0], "a.42.4242.created")
	}
	b.ReportMetric(float64(len(matched)), "matches")
}
