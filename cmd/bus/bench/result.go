package bench

import (
	"slices"
	"time"
)

// Figures are what one run of a workload gave. What does not apply is zero.
type Figures struct {
	Events  int           `json:"events"`            // counted, all of them at their place
	Rate    float64       `json:"rate,omitempty"`    // in the workload's unit
	Elapsed time.Duration `json:"elapsed_ns"`        // that they took
	P50     time.Duration `json:"p50_ns,omitempty"`  // of a request, or from publish to receipt
	P99     time.Duration `json:"p99_ns,omitempty"`  //
	P999    time.Duration `json:"p999_ns,omitempty"` //
	CPU     float64       `json:"cpu_us,omitempty"`  // server's CPU, in µs an event
	Memory  int64         `json:"memory,omitempty"`  // bytes the server holds at the end; of subscribers, for one of them
}

// Result is a workload at one system, with all its runs.
type Result struct {
	Name       string    `json:"workload"`
	Title      string    `json:"title"`
	Size       string    `json:"size,omitempty"`
	Unit       string    `json:"unit,omitempty"`
	Shown      string    `json:"shown"` // the figure that says most: rate, p50 or memory
	System     string    `json:"system"`
	Setup      string    `json:"setup"`
	Durability string    `json:"durability"`
	Median     Figures   `json:"median"` // each figure by itself
	Runs       []Figures `json:"runs"`
}

func newResult(c *Config, w *Workload, s *system) Result {
	r := Result{Name: w.Name, Title: w.Title, Size: w.Size, Unit: w.Unit, Shown: w.Shown,
		System: s.name, Setup: s.setup, Durability: s.durability}
	if w.Sync != "" && c.Host == "" {
		r.Setup, r.Durability = "--sync="+w.Sync, durable(w.Sync)
	}
	return r
}

func (r *Result) summarize() {
	r.Median = Figures{
		Events:  median(r.Runs, func(f Figures) int { return f.Events }),
		Rate:    median(r.Runs, func(f Figures) float64 { return f.Rate }),
		Elapsed: median(r.Runs, func(f Figures) time.Duration { return f.Elapsed }),
		P50:     median(r.Runs, func(f Figures) time.Duration { return f.P50 }),
		P99:     median(r.Runs, func(f Figures) time.Duration { return f.P99 }),
		P999:    median(r.Runs, func(f Figures) time.Duration { return f.P999 }),
		CPU:     median(r.Runs, func(f Figures) float64 { return f.CPU }),
		Memory:  median(r.Runs, func(f Figures) int64 { return f.Memory }),
	}
}

// median returns the middle one, of an even number the lower.
func median[T int | int64 | float64 | time.Duration](runs []Figures, of func(Figures) T) T {
	values := make([]T, len(runs))
	for i, f := range runs {
		values[i] = of(f)
	}
	slices.Sort(values)
	return values[(len(values)-1)/2]
}

// spread sorts samples and fills in the percentiles: of n samples, that at or
// below which the part of them lies.
func (f *Figures) spread(samples []time.Duration) {
	if len(samples) == 0 {
		return
	}
	slices.Sort(samples)
	at := func(thousandths int) time.Duration { return samples[(len(samples)*thousandths+999)/1000-1] }
	f.P50, f.P99, f.P999 = at(500), at(990), at(999)
}

// shown is the figure that says most, and how it is written.
func (r *Result) shown() (value float64, text string) {
	switch r.Shown {
	case "p50":
		return float64(r.Median.P50), short(r.Median.P50)
	case "memory":
		return float64(r.Median.Memory), size(r.Median.Memory)
	}
	return r.Median.Rate, rate(r)
}
