// Package bench measures a bus from outside: the server is a process of its own,
// the clients speak to it over sockets, and every event is counted. A run that
// lost, doubled or reordered one is a failure and gives no figure.
//
// Clients are raw connections that look at as little as proves that nothing is
// wrong, so that it is the server that is measured. They share the machine with
// it all the same: compare figures of one run, not of two machines.
package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Config says what is measured and how.
type Config struct {
	Only     []string      // workloads by name; all when empty
	Payload  int           // bytes of JSON of one event's payload; 256 when 0
	Time     time.Duration // of each measurement that has no other end; 3 s when 0
	Runs     int           // how often each is measured; the median is told; 3 when 0
	Replay   int           // events of the log that is read back; 1,000,000 when 0
	Idle     int           // idle subscribers; 5,000 when 0
	Sync     string        // the server's --sync; "always" when empty
	Dir      string        // where servers keep their logs, a new directory in it each; "" for the system's
	Program  string        // of the bus; needed unless Host is given
	Host     string        // measure this server, host:port, instead of one of our own
	Subject  string        // namespace to publish to at Host; "bench" when empty
	Progress func(text string, done float64)
}

func (c Config) withDefaults() Config {
	setDefault(&c.Payload, 256)
	setDefault(&c.Time, 3*time.Second)
	setDefault(&c.Runs, 3)
	setDefault(&c.Replay, 1_000_000)
	setDefault(&c.Idle, 5_000)
	setDefault(&c.Sync, "always")
	setDefault(&c.Subject, "bench")
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

// Workload is one row of the table.
type Workload struct {
	Name  string // as --only names it
	Title string
	Unit  string // of Figures.Rate
	Host  bool   // can be measured at a server that is not ours
	Run   func(ctx context.Context, r *run) (Figures, error)
}

// Names returns the workloads there are, in their order.
func Names() []string {
	var names []string
	for _, w := range workloads {
		names = append(names, w.Name)
	}
	return names
}

// Run measures the workloads one after another, each on a fresh server, and
// returns their results in order. The first that fails ends it, with those
// before it.
func Run(ctx context.Context, c Config) ([]Result, error) {
	c = c.withDefaults()
	chosen, err := choose(c)
	if err != nil {
		return nil, err
	}
	var results []Result
	for i, w := range chosen {
		result := Result{Name: w.Name, Title: w.Title, Unit: w.Unit, System: "bus", Durability: c.Sync}
		for n := range c.Runs {
			c.Progress(w.Title, (float64(i)+float64(n)/float64(c.Runs))/float64(len(chosen)))
			f, err := measure(ctx, &c, &w)
			if err != nil {
				return results, fmt.Errorf("%s: %w", w.Name, err)
			}
			result.Runs = append(result.Runs, f)
		}
		result.summarize()
		results = append(results, result)
	}
	c.Progress("", 1)
	return results, nil
}

func choose(c Config) ([]Workload, error) {
	var chosen []Workload
	for _, w := range workloads {
		if (len(c.Only) == 0 || slices.Contains(c.Only, w.Name)) && (c.Host == "" || w.Host) {
			chosen = append(chosen, w)
		}
	}
	for _, name := range c.Only {
		if !slices.ContainsFunc(chosen, func(w Workload) bool { return w.Name == name }) {
			if slices.Contains(Names(), name) {
				return nil, fmt.Errorf("workload %q needs a server of its own, without --host", name)
			}
			return nil, fmt.Errorf("there is no workload %q; there are %s", name, strings.Join(Names(), ", "))
		}
	}
	return chosen, nil
}

// measure runs a workload once.
func measure(ctx context.Context, c *Config, w *Workload) (Figures, error) {
	r := &run{config: c, ctx: ctx}
	defer r.end()
	return w.Run(ctx, r)
}
