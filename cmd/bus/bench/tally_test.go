package bench

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestATallyHasEachIndexOnceAndNoneMissing(t *testing.T) {
	for _, c := range []struct {
		name  string
		added [][]uint64
		dense bool
		want  string // of the error
	}{
		{"nothing", nil, true, ""},
		{"two publishers side by side", [][]uint64{{1, 3, 4}, {2, 5}}, true, ""},
		{"a hole", [][]uint64{{1, 2}, {4}}, true, "index 3 is missing"},
		{"the first is missing", [][]uint64{{2, 3}}, true, "index 1 is missing"},
		{"twice at two publishers", [][]uint64{{1, 2}, {2, 3}}, false, "index 2 was answered twice"},
		{"out of order", [][]uint64{{2, 1}}, false, "answered index 1 after 2"},
		{"twice at one", [][]uint64{{1, 1}}, false, "answered index 1 after 1"},
		{"holes where others publish too", [][]uint64{{7, 9}, {20}}, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tally tally
			var err error
			for _, indexes := range c.added {
				if err == nil {
					err = tally.add(indexes)
				}
			}
			if err == nil {
				err = tally.check(c.dense)
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// atOrBelow is the slow definition: the smallest sample at or below which so many
// thousandths of all lie.
func atOrBelow(samples []time.Duration, thousandths int) time.Duration {
	for _, candidate := range slices.Sorted(slices.Values(samples)) {
		n := 0
		for _, s := range samples {
			if s <= candidate {
				n++
			}
		}
		if n*1000 >= thousandths*len(samples) {
			return candidate
		}
	}
	return 0
}

func TestPercentilesAreThoseOfTheDefinition(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		samples := make([]time.Duration, 1+random.IntN(1500)%(1+random.IntN(1500)))
		for i := range samples {
			samples[i] = time.Duration(random.IntN(500))
		}
		want := [3]time.Duration{atOrBelow(samples, 500), atOrBelow(samples, 990), atOrBelow(samples, 999)}
		var f Figures
		f.spread(samples)
		if got := [3]time.Duration{f.P50, f.P99, f.P999}; got != want {
			t.Fatalf("%d samples: got %v, want %v", len(samples), got, want)
		}
	}
}

func TestTheMedianIsOfEachFigureByItself(t *testing.T) {
	r := Result{Runs: []Figures{{Events: 1, Rate: 30, P50: 5}, {Events: 9, Rate: 10, P50: 7}, {Events: 4, Rate: 20, P50: 1}}}
	r.summarize()
	if want := (Figures{Events: 4, Rate: 20, P50: 5}); r.Median != want {
		t.Errorf("got %+v, want %+v", r.Median, want)
	}
	r.Runs = r.Runs[:2]
	r.summarize()
	if want := (Figures{Events: 1, Rate: 10, P50: 5}); r.Median != want {
		t.Errorf("got %+v, want the lower of two, %+v", r.Median, want)
	}
}
