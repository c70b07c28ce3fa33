// Package bench measures a bus from outside, and on request its neighbours on
// the same work: each server is a process of its own, clients speak to it over
// sockets, and every event is counted. A run that lost, doubled or reordered one
// is a failure and gives no figure.
//
// Clients are raw connections that look at as little as proves that nothing is
// wrong, so that it is the server that is measured. They share the machine with
// it all the same: compare figures of one run, not of two machines. It knows
// nothing of the packages that the server is made of.
package bench

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Config says what is measured and how.
type Config struct {
	Only      []string      // workloads by name, or "grow", "all"; all but those of growth when empty
	Payload   int           // bytes of JSON of one event's payload; 256 when 0
	Time      time.Duration // of each measurement that has no other end; 2 s when 0
	Runs      int           // how often each is measured; the median is told; 3 when 0
	Events    int           // of the long log that is read back; 1,000,000 when 0
	Idle      int           // idle subscribers; 5,000 when 0
	Sync      string        // the server's --sync; "always" when empty
	Dir       string        // where servers keep their logs, a new directory in it each; "" for the system's
	Program   string        // of the bus; needed unless Host is given
	Version   string        // of the bus, as the report tells it
	Host      string        // measure this server, host:port, instead of one of our own
	Namespace string        // to publish to at Host; "bench" when empty
	Compare   []Neighbour   // measured in turn with the bus, where the work exists there
	Progress  func(text string, done float64)

	systems  []system      // instead of a bus and its neighbours
	patience time.Duration // how long nothing may come that is due; 20 s when 0
	plan     []Workload    // instead of workloads
}

// Neighbour is another server to be measured: Kind is "nats" or "redis", Program
// its path, or "" for the one in $PATH.
type Neighbour struct{ Kind, Program string }

func (c Config) withDefaults() Config {
	setDefault(&c.Payload, 256)
	setDefault(&c.Time, 2*time.Second)
	setDefault(&c.Runs, 3)
	setDefault(&c.Events, 1_000_000)
	setDefault(&c.Idle, 5_000)
	setDefault(&c.Sync, "always")
	setDefault(&c.Namespace, "bench")
	setDefault(&c.patience, 20*time.Second)
	if c.Progress == nil {
		c.Progress = func(string, float64) {}
	}
	return c
}

func setDefault[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// Run measures the workloads one after another, each run on a fresh server, and
// returns their results in order. Systems take turns within a workload (A B A B),
// so that what else the machine does falls on all of them. The first run that
// fails ends it; the report then has the workloads before it. When ctx ends, Run
// ends soon; in every case no process and no directory of its own is left.
func Run(ctx context.Context, c Config) (*Report, error) {
	c = c.withDefaults()
	chosen, err := choose(&c)
	if err != nil {
		return nil, err
	}
	if c.systems == nil {
		if c.systems, err = systemsOf(ctx, &c); err != nil {
			return nil, err
		}
	}
	report := newReport(&c)
	for i := range chosen {
		part := func(done float64) { c.Progress(chosen[i].title(), (float64(i)+done)/float64(len(chosen))) }
		results, err := inTurn(ctx, &c, &chosen[i], part)
		if err != nil {
			return report, err
		}
		report.Results = append(report.Results, results...)
	}
	c.Progress("", 1)
	return report, nil
}

// inTurn measures a workload with all systems that can do it.
func inTurn(ctx context.Context, c *Config, w *Workload, progress func(done float64)) ([]Result, error) {
	able := slices.DeleteFunc(slices.Clone(c.systems), func(s system) bool { return !w.fits(&s) })
	results := make([]Result, len(able))
	for i := range able {
		results[i] = newResult(c, w, &able[i])
	}
	for n := range c.Runs {
		for i := range able {
			progress(float64(n*len(able)+i) / float64(c.Runs*len(able)))
			f, err := measure(ctx, c, w, &able[i])
			if ctx.Err() != nil {
				return nil, ctx.Err() // what it broke off looks like a failure
			}
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", w.title(), able[i].name, err)
			}
			results[i].Runs = append(results[i].Runs, f)
		}
	}
	for i := range results {
		results[i].summarize()
	}
	return results, nil
}

// measure runs a workload once.
func measure(ctx context.Context, c *Config, w *Workload, s *system) (Figures, error) {
	r := &run{config: c, ctx: ctx, system: s, sync: w.Sync}
	defer r.end()
	return w.measure(ctx, r)
}
