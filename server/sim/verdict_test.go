package sim

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"time"
)

// work is the first that somebody waits for, or all.
func (c *consumer) work(flying []uint64) (index uint64, verdict string) {
	for _, i := range flying {
		if c.out[i].e.ResponseSubject != "" {
			return i, "ack"
		}
	}
	return flying[len(flying)-1], "up_to"
}

// flying are the indexes that are out, sorted.
func (c *consumer) flying() []uint64 {
	var all []uint64
	for i := range c.out {
		all = append(all, i)
	}
	slices.Sort(all)
	return all
}

// settle gives a verdict on one of the events that are out.
func (w *world) settle(c *consumer, rng *rand.Rand, verdict string) {
	flying := c.flying()
	if !w.up || c.conn == nil || c.id == "" || len(flying) == 0 || w.cut() {
		return
	}
	index := flying[rng.IntN(len(flying))]
	if verdict == "all" {
		index, verdict = flying[len(flying)-1], "up_to"
	}
	if verdict == "work" {
		index, verdict = c.work(flying)
	}
	fl := c.out[index]
	q := url.Values{"consumer_id": {c.id}, "event_id": {fl.e.ID}, "verdict": {verdict}}
	body, delay := "", time.Duration(0)
	switch {
	case verdict == "up_to":
		q.Set("verdict", "ack")
		q.Set("up_to", "true")
	case verdict == "nak" && rng.IntN(2) == 0:
		delay = []time.Duration{time.Millisecond, 300 * time.Millisecond, 10 * time.Second}[rng.IntN(3)]
		q.Set("delay", delay.String())
	case verdict == "ack" && fl.e.ResponseSubject != "":
		body = fmt.Sprintf(`{"re":%d,"from":%q}`, index, c.name)
		w.byTrace[fl.e.TraceID].replies[body] = true
		if p := w.byTrace[fl.e.TraceID]; p.conn != nil {
			p.told = append(p.told, body)
		}
	}
	if p := w.byTrace[fl.e.TraceID]; verdict == "ack" {
		p.ackers[c.id] = true
	}
	asked := time.Now()
	a := w.do("PUT", "?"+q.Encode(), body)
	w.tracef("%s says %s of %d: %d", c.name, verdict, index, a.status)
	if w.noteFailed(); verdict == "term" && a.status >= 500 && (w.faults.any() || w.filled || w.deadFailed) {
		fl.earliest, fl.latest = asked.Add(c.redelivery), time.Now().Add(c.redelivery) // no room for a dead letter: it is still there
		return
	}
	if a.status != 202 {
		w.failf("%s says %s of %d, which it has: got %d %s", c.name, verdict, index, a.status, a.body)
		return
	}
	c.settled(index, verdict, delay)
	if verdict == "up_to" {
		for _, i := range flying {
			if i <= index {
				w.byTrace[c.out0(i, w)].ackers[c.id] = true
				c.settled(i, verdict, 0)
			}
		}
		for i := range c.dying { // one that could not be kept is taken along
			if i <= index {
				w.byTrace[c.out0(i, w)].ackers[c.id] = true
			}
		}
	}
}

// out0 is the trace of an event of its namespace.
func (c *consumer) out0(index uint64, w *world) string { return w.spaces[c.ns].log[index-1].TraceID }

func (c *consumer) settled(index uint64, verdict string, delay time.Duration) {
	fl, now := c.out[index], time.Now()
	switch {
	case fl == nil:
	case verdict == "nak" && c.attempts > 0 && fl.attempt >= c.attempts: // that was the last one
		fl.earliest, fl.latest = now, now
	case verdict == "nak":
		fl.earliest, fl.latest = now.Add(delay), now.Add(max(delay, time.Second))
	case verdict == "wip":
		fl.earliest, fl.latest = now.Add(c.redelivery), now.Add(c.redelivery)
	default:
		delete(c.out, index)
		c.acked[index], c.done[index] = true, true
	}
}
