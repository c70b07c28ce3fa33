package bench

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteTable writes the medians as a table for people, and what it was that was
// measured above it.
func (r *Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	m := &r.Machine
	fmt.Fprintln(&b, m)
	for _, s := range r.Systems {
		fmt.Fprintf(&b, "%s, %s\n", strings.TrimSpace(s.System+" "+s.Version), s.Setup)
	}
	fmt.Fprintf(&b, "medians of %d; each event counted, %d bytes of payload, long logs of %s events\n\n",
		r.Config.Runs, r.Config.Payload, digits(r.Config.Events))
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "work\tsystem\tdurable\trate\tp50\tp99\tp99.9\tCPU µs/event\tmemory")
	for i := range r.Results {
		fmt.Fprintln(t, r.Results[i].row())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Result) row() string {
	m := &r.Median
	title := r.Title
	if r.Size != "" {
		title += ": " + r.Size
	}
	return strings.Join([]string{title, r.System, r.Durability, rate(r), short(m.P50), short(m.P99), short(m.P999),
		micros(m.CPU), size(m.Memory)}, "\t")
}

func rate(r *Result) string {
	if r.Median.Rate == 0 {
		return "–"
	}
	return strings.TrimSpace(count(r.Median.Rate) + " " + r.Unit)
}

// count writes a rate with three digits that mean something.
func count(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'f', 2, 64) + " M"
	case v >= 1e3:
		return strconv.FormatFloat(v/1e3, 'f', 1, 64) + " k"
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}

func short(d time.Duration) string {
	switch {
	case d == 0:
		return "–"
	case d < time.Millisecond:
		return strconv.FormatInt(d.Microseconds(), 10) + " µs"
	case d < time.Second:
		return strconv.FormatFloat(float64(d.Microseconds())/1e3, 'f', 2, 64) + " ms"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', 2, 64) + " s"
}

func micros(v float64) string {
	if v == 0 {
		return "–"
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func size(n int64) string {
	switch {
	case n == 0:
		return "–"
	case n < 1<<20:
		return strings.TrimSuffix(strconv.FormatFloat(float64(n)/(1<<10), 'f', 1, 64), ".0") + " KiB"
	}
	if n < 10<<20 {
		return strings.TrimSuffix(strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64), ".0") + " MiB"
	}
	return strconv.FormatInt(n>>20, 10) + " MiB"
}
