package bench

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// growth are the workloads that show how cost grows with something: a row a size.
func growth(c *Config) []Workload {
	var all []Workload
	row := func(name, title, size, unit, shown string, measure func(context.Context, *run) (Figures, error)) {
		all = append(all, Workload{Name: name, Title: title, Size: size, Unit: unit, Shown: shown, Growth: true, measure: measure})
	}
	for _, n := range []int{0, 2 * c.Idle / 10, 2 * c.Idle} {
		row("grow-subscribers", "publish, 16 connections, beside subscribers that do not match", digits(n), "events/s", "rate", besides(n))
	}
	for _, behind := range []int{1, c.Events} {
		row("grow-behind", "memory of a subscriber that does not read, by events behind", digits(behind), "", "memory", behindBy(behind))
	}
	for _, n := range []int{max(c.Events/100, 1), c.Events} {
		row("grow-start", "start until ready, by events", digits(n), "", "p50", starting(n))
	}
	for _, n := range []int{max(c.Events/100, 10), max(c.Events, 10)} {
		row("grow-resume", "resume by id, by events", digits(n), "", "p50", resuming(n))
	}
	for _, n := range []int{max(c.Events/100, 1), c.Events} {
		row("grow-rare", "the only event of a subject, from the oldest, by events", digits(n), "", "p50", seeking(n))
	}
	for _, n := range []int{1, 2, 4, 8, 16} {
		row("grow-namespaces", "publish, 4 connections a namespace, by namespaces", digits(n), "events/s", "rate", namespaces(n))
	}
	for _, n := range []int{16, 256, 4 << 10, 64 << 10, 1 << 20} {
		row("grow-payload", "publish, 16 connections, by bytes of payload", bytesOf(n), "events/s", "rate", payloads(n))
	}
	for _, n := range []int{1, 10_000} {
		row("grow-subjects", "batches of 1000 over 4 connections, by subjects", digits(n), "events/s", "rate", subjects(n))
	}
	return all
}

// digits writes a number with its thousands apart.
func digits(n int) string {
	s := strconv.Itoa(n)
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}

func bytesOf(n int) string {
	switch {
	case n >= 1<<20:
		return strconv.Itoa(n>>20) + " MiB"
	case n >= 1<<10:
		return strconv.Itoa(n>>10) + " KiB"
	}
	return strconv.Itoa(n) + " B"
}

// besides publishes while streams are open that want something else: half of them
// a subject each, half of them patterns.
func besides(streams int) func(context.Context, *run) (Figures, error) {
	return func(ctx context.Context, r *run) (Figures, error) {
		s, err := r.serve()
		if err != nil {
			return Figures{}, err
		}
		all := make([]*stream, streams)
		for i := range all {
			query := fmt.Sprintf("subject=%s.other.n%d", s.ns, i)
			if i%2 == 1 {
				query = fmt.Sprintf("subject=%s.*.n%d", s.ns, i)
			}
			if all[i], err = r.stream(ctx, s, query, reading{near: true, buffer: 1 << 10}); err != nil {
				return Figures{}, fmt.Errorf("subscriber %d of %d: %w", i+1, streams, err)
			}
		}
		publishers, err := r.publishers(s, 16, 1)
		if err != nil {
			return Figures{}, err
		}
		f, err := r.publish(ctx, s, publishers)
		if err != nil {
			return f, err
		}
		for _, b := range all {
			if err := b.reach(ctx, 0); err != nil {
				return f, err
			}
		}
		return f, nil
	}
}

// stuck is how many subscribers do not read.
const stuck = 100

// behindBy opens streams at a distance from the end that nobody reads: they stay
// that far behind, with what the kernel takes already on its way. Memory is what
// the server holds for one of them. In the end the first is read up to the end.
func behindBy(behind int) func(context.Context, *run) (Figures, error) {
	return func(ctx context.Context, r *run) (Figures, error) {
		s, n, err := r.filled(ctx, r.config.Events)
		if err != nil {
			return Figures{}, err
		}
		query := fmt.Sprintf("subject=%s.*&start=%%23%d", s.ns, max(n-behind, 0)+1)
		b, buffer, err := r.opened(ctx, s, query, reading{near: true})
		if err != nil {
			return Figures{}, err
		}
		empty, err := r.settled(ctx, s)
		for i := 0; i < stuck && err == nil; i++ {
			_, _, err = r.opened(ctx, s, query, reading{})
		}
		if err != nil {
			return Figures{}, err
		}
		full, err := r.settled(ctx, s)
		if err != nil {
			return Figures{}, err
		}
		f := Figures{Events: min(n, behind), Memory: each(empty, full, stuck)}
		begun := time.Now()
		b.start(r, func() error { return b.read(buffer) })
		if err := b.reach(ctx, f.Events); err != nil {
			return Figures{}, err
		}
		f.Elapsed = time.Since(begun)
		p, err := s.publisher(r, s, 0, 1)
		if err != nil {
			return f, err
		}
		return f, closing(ctx, p, []*subscriber{b.subscriber}, f.Events)
	}
}

// namespaces publishes to several at once, each with connections of its own.
func namespaces(n int) func(context.Context, *run) (Figures, error) {
	return func(ctx context.Context, r *run) (Figures, error) {
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprintf("bench%d", i+1)
		}
		s, err := r.serveNamespaces(names)
		if err != nil {
			return Figures{}, err
		}
		var all []*publisher
		for _, name := range names {
			one := *s
			one.ns, one.subject = name, name+".created"
			publishers, err := r.publishers(&one, 4, 1)
			if err != nil {
				return Figures{}, err
			}
			all = append(all, publishers...)
		}
		f, err := r.drive(ctx, s, all)
		if err != nil {
			return f, err
		}
		for i, name := range names {
			one := *s
			one.ns = name
			if err := r.readBack(ctx, &one, all[4*i:4*i+4]); err != nil {
				return f, fmt.Errorf("namespace %s: %w", name, err)
			}
		}
		return f, nil
	}
}

// serveNamespaces starts a server that has several.
func (r *run) serveNamespaces(names []string) (*server, error) {
	var flags []string
	for _, name := range names {
		flags = append(flags, "--namespaces", name)
	}
	return r.serve(flags...)
}

// payloads publishes events of one size.
func payloads(size int) func(context.Context, *run) (Figures, error) {
	return func(ctx context.Context, r *run) (Figures, error) {
		c := *r.config
		c.Payload = size
		r.config = &c
		s, err := r.serve("--max-event", "2MiB")
		if err != nil {
			return Figures{}, err
		}
		publishers, err := r.publishers(s, 16, 1)
		if err != nil {
			return Figures{}, err
		}
		return r.publish(ctx, s, publishers)
	}
}

// subjects publishes batches whose events have so many subjects in turn.
func subjects(n int) func(context.Context, *run) (Figures, error) {
	return func(ctx context.Context, r *run) (Figures, error) {
		s, err := r.serve()
		if err != nil {
			return Figures{}, err
		}
		const batch = 1000
		var bodies []string
		for first := 0; first < max(n, batch); first += batch {
			bodies = append(bodies, batchOver(s.ns, first, batch, n, r.config.Payload))
		}
		publishers := make([]*publisher, 4)
		for i := range publishers {
			if publishers[i], err = r.posting(s, batch, bodies); err != nil {
				return Figures{}, err
			}
		}
		return r.publish(ctx, s, publishers)
	}
}
