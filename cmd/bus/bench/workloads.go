package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Workload is one row of the table. Rows of one name differ in their size.
type Workload struct {
	Name   string // as Config.Only names it
	Title  string
	Size   string // of one row among several
	Unit   string // of Figures.Rate
	Shown  string // the figure that a plot shows: "rate", "p50" or "memory"
	Where  places
	Sync   string // instead of Config.Sync
	Growth bool   // how cost grows: only when it is asked for

	measure func(ctx context.Context, r *run) (Figures, error)
}

// places tells who can be measured by a workload.
type places uint8

const (
	atHost     places = 1 << iota // a server that is not ours
	neighbours                    // not only a bus
	reads                         // what is slow to fill is not filled
)

func (w *Workload) title() string {
	if w.Size == "" {
		return w.Title
	}
	return w.Title + ": " + w.Size
}

// fits tells whether a system can do the work.
func (w *Workload) fits(s *system) bool {
	switch {
	case s.name == "bus":
		return true
	case w.Where&reads != 0 && s.slow:
		return false
	}
	return w.Where&neighbours != 0
}

// everywhere is work that any of the servers can do, ours or not.
const everywhere = atHost | neighbours

// mainWorkloads are the rows that are measured unless told otherwise.
func mainWorkloads(c *Config) []Workload {
	const events, deliveries = "events/s", "deliveries/s"
	return []Workload{
		{Name: "publish-1", Title: "publish, 1 connection", Unit: events, Where: everywhere, measure: publishing(1, 1)},
		{Name: "publish-16", Title: "publish, 16 connections", Unit: events, Where: everywhere, measure: publishing(16, 1)},
		{Name: "publish-64", Title: "publish, 64 connections", Unit: events, Where: everywhere, measure: publishing(64, 1)},
		{Name: "batch-1", Title: "batches of 1000, 1 connection", Unit: events, Where: everywhere, measure: publishing(1, 1000)},
		{Name: "batch-4", Title: "batches of 1000, 4 connections", Unit: events, Where: everywhere, measure: publishing(4, 1000)},
		{Name: "fanout-100", Title: "fan-out to 100, batches of 100", Unit: deliveries, Where: everywhere, measure: fanOut(100, 100)},
		{Name: "fanout-1000", Title: "fan-out to 1000, batches of 100", Unit: deliveries, Where: everywhere, measure: fanOut(1000, 100)},
		{Name: "fanout-1000-single", Title: "fan-out to 1000, single events", Unit: deliveries, Where: everywhere, measure: fanOut(1000, 1)},
		{Name: "latency-1", Title: "publish to receive, 1 subscriber, 500 a second", Unit: deliveries, Shown: "p50", Where: everywhere, measure: latency(1, 500)},
		{Name: "latency-100", Title: "publish to receive, 100 subscribers, 100 a second", Unit: deliveries, Shown: "p50", Where: everywhere, measure: latency(100, 100)},
		{Name: "replay", Title: "replay of a long log", Unit: events, Where: neighbours | reads, measure: replaying(1, false)},
		{Name: "replay-sealed", Title: "replay of a sealed log", Unit: events, measure: replaying(1, true)},
		{Name: "replay-4", Title: "replay of a long log, 4 readers", Unit: events, measure: replaying(4, false)},
		{Name: "replay-sealed-4", Title: "replay of a sealed log, 4 readers", Unit: events, measure: replaying(4, true)},
		{Name: "resume", Title: "resume by id near the end of a long log", Shown: "p50", measure: resuming(c.Events)},
		{Name: "start", Title: "start with a long log, until ready", Shown: "p50", measure: starting(c.Events)},
		{Name: "idle", Title: "idle subscribers, and one event to all", Unit: deliveries, Shown: "memory", measure: idle},
		{Name: "ack-single", Title: "acknowledged events, window 64, one a request", Unit: events, measure: acking(64, 16, false)},
		{Name: "ack-group", Title: "acknowledged events, in groups by up_to", Unit: events, measure: acking(1000, 1, true)},
		{Name: "reply", Title: "request and reply", Unit: "replies/s", Shown: "p50", measure: asking},
		{Name: "reply-os", Title: "request and reply, --sync=os", Unit: "replies/s", Shown: "p50", Sync: "os", measure: asking},
	}
}

// workloads are all there are, in their order.
func workloads(c *Config) []Workload {
	all := append(mainWorkloads(c), growth(c)...)
	for i := range all {
		setDefault(&all[i].Shown, "rate")
	}
	return all
}

// Names returns the names of the workloads there are, in their order.
func Names() []string {
	c := Config{}.withDefaults()
	var names []string
	for _, w := range workloads(&c) {
		names = append(names, w.Name)
	}
	return slices.Compact(names)
}

// Describe returns a line for each workload: its name, and what it is.
func Describe() string {
	c := Config{}.withDefaults()
	var lines []string
	last := ""
	for _, w := range workloads(&c) {
		if w.Name != last {
			lines = append(lines, fmt.Sprintf("%-19s %s", w.Name, w.Title))
		}
		last = w.Name
	}
	return strings.Join(lines, "\n")
}

// wanted tells whether a workload is among those that were named.
func (w *Workload) wanted(only []string) bool {
	if len(only) == 0 {
		return !w.Growth
	}
	return slices.ContainsFunc(only, func(name string) bool {
		return name == w.Name || name == "all" || name == "grow" && w.Growth
	})
}

func choose(c *Config) ([]Workload, error) {
	all := c.plan
	if all == nil {
		all = workloads(c)
	}
	for _, name := range c.Only {
		if name != "all" && name != "grow" && !slices.ContainsFunc(all, func(w Workload) bool { return w.Name == name }) {
			return nil, fmt.Errorf("there is no workload %q, wanted all, grow, %s", name, strings.Join(Names(), ", "))
		}
	}
	var chosen []Workload
	for _, w := range all {
		if !w.wanted(c.Only) {
			continue
		}
		if c.Host != "" && w.Where&atHost == 0 {
			if slices.Contains(c.Only, w.Name) {
				return nil, fmt.Errorf("workload %q needs a server of its own; leave out --host", w.Name)
			}
			continue
		}
		chosen = append(chosen, w)
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("none of these workloads can be measured with --host; leave it out")
	}
	return chosen, nil
}
