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
	Memory  int64         `json:"memory,omitempty"`  // bytes the server holds at the end; of idle subscribers, for one of them
}

// Result is a workload with all its runs.
type Result struct {
	Name       string    `json:"workload"`
	Title      string    `json:"title"`
	Unit       string    `json:"unit"`
	System     string    `json:"system"`
	Durability string    `json:"durability"`
	Median     Figures   `json:"median"` // each figure by itself
	Runs       []Figures `json:"runs"`
}

func (r *Result) summarize() {
	r.Median = Figures{
		Events: median(r.Runs, func(f Figures) int { return f.Events }), Rate: median(r.Runs, func(f Figures) float64 { return f.Rate }),
		Elapsed: median(r.Runs, func(f Figures) time.Duration { return f.Elapsed }),
		P50:     median(r.Runs, func(f Figures) time.Duration { return f.P50 }),
		P99:     median(r.Runs, func(f Figures) time.Duration { return f.P99 }),
		P999:    median(r.Runs, func(f Figures) time.Duration { return f.P999 }),
		CPU:     median(r.Runs, func(f Figures) float64 { return f.CPU }), Memory: median(r.Runs, func(f Figures) int64 { return f.Memory }),
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

// spread sorts samples and fills in the percentiles.
func (f *Figures) spread(samples []time.Duration) {
	if len(samples) == 0 {
		return
	}
	slices.Sort(samples)
	at := func(part float64) time.Duration { return samples[min(int(float64(len(samples))*part), len(samples)-1)] }
	f.P50, f.P99, f.P999 = at(0.5), at(0.99), at(0.999)
}
