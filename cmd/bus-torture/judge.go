package main

import (
	"fmt"
	"math"
	"strings"
)

// maxExamples is how many of the faults of one look are told in words.
const maxExamples = 8

// verdict counts what is wrong in the logs against what the clients know. All
// of it has to be zero, but the three that are told for their own sake.
type verdict struct {
	events     int // in the logs
	unanswered int // in the logs, never answered: each may be there once
	forgiven   int // answered as less than durable, and gone

	lost    int // answered, not there
	twice   int // there more than once
	moved   int // answered with another id or index
	gaps    int // indexes that do not follow on each other
	order   int // answered before another was sent, and stands behind it
	changed int // not what was sent, or sent by nobody
	split   int // a batch in parts, a stream with a hole
	unseen  int // seen by a reader, or counted to one, and gone
	names   int // of logs and indexes, gone
	closed  int // times that the server did not open

	examples []string
}

func (v *verdict) faults() int {
	return v.lost + v.twice + v.moved + v.gaps + v.order + v.changed + v.split + v.unseen + v.names + v.closed
}

// add sums up over many looks; events and unanswered are those of all.
func (v *verdict) add(o *verdict) {
	v.events += o.events
	v.unanswered += o.unanswered
	v.forgiven += o.forgiven
	v.lost += o.lost
	v.twice += o.twice
	v.moved += o.moved
	v.gaps += o.gaps
	v.order += o.order
	v.changed += o.changed
	v.split += o.split
	v.unseen += o.unseen
	v.names += o.names
	v.closed += o.closed
	v.examples = append(v.examples, o.examples...)
}

func (v *verdict) String() string {
	return fmt.Sprintf("lost %d, twice %d, moved %d, gaps %d, order breaks %d, changed %d, split %d, seen and gone %d, names gone %d, did not open %d",
		v.lost, v.twice, v.moved, v.gaps, v.order, v.changed, v.split, v.unseen, v.names, v.closed)
}

func (v *verdict) wrong(count *int, format string, args ...any) {
	*count++
	if len(v.examples) < maxExamples {
		v.examples = append(v.examples, fmt.Sprintf(format, args...))
	}
}

// judge compares what was read with the journal. What was answered or seen up to
// the time since has to be there; what came later need not be, since the clients
// may be at work. With forgive, an answered event that is gone is no fault and
// is not asked for again: its answer said that it was not durable yet.
func (j *journal) judge(read map[string][]event, since int64, forgive bool) *verdict {
	j.mu.Lock()
	defer j.mu.Unlock()
	v := &verdict{}
	at := make(map[string]event)
	for _, namespace := range namespaces {
		j.judgeLog(v, namespace, read[namespace], at)
		j.judgeOrder(v, namespace, read[namespace])
		j.judgeSeen(v, namespace, read[namespace], since)
	}
	for _, e := range j.entries {
		j.judgeEntry(v, e, at, since, forgive)
	}
	for _, g := range j.groups {
		judgeGroup(v, g, at)
	}
	for _, text := range j.mistakes {
		v.wrong(&v.changed, "%s", text)
	}
	j.mistakes = nil
	return v
}

func (j *journal) judgeLog(v *verdict, namespace string, read []event, at map[string]event) {
	for i, e := range read {
		v.events++
		if e.Index != uint64(i+1) {
			v.wrong(&v.gaps, "%s: got index %d at place %d", namespace, e.Index, i+1)
		}
		name := e.name()
		sent, known := j.entries[name]
		switch {
		case !known || sent.Namespace != namespace:
			v.wrong(&v.changed, "%s %d: got %.100s, which nobody sent there", namespace, e.Index, e.Payload)
			continue
		case string(e.Payload) != payload(name):
			v.wrong(&v.changed, "%s %d: got %.100s, which is not what %s was", namespace, e.Index, e.Payload, name)
		}
		if other, twice := at[name]; twice {
			v.wrong(&v.twice, "%s: got it at %d and at %d of %s", name, other.Index, e.Index, namespace)
		}
		at[name] = e
	}
}

// judgeOrder goes from the end: of two events, the one that was answered before
// the other was sent has to stand before it.
func (j *journal) judgeOrder(v *verdict, namespace string, read []event) {
	first, who := int64(math.MaxInt64), ""
	for i := len(read) - 1; i >= 0; i-- {
		e, known := j.entries[read[i].name()]
		if !known {
			continue
		}
		if first < e.Sent {
			v.wrong(&v.order, "%s %d: %s was sent after %s was answered, and stands before it", namespace, read[i].Index, e.Name, who)
		}
		if e.Answered != 0 && e.Answered < first {
			first, who = e.Answered, e.Name
		}
	}
}

// judgeSeen holds the logs against what readers were shown.
func (j *journal) judgeSeen(v *verdict, namespace string, read []event, since int64) {
	for index, was := range j.seen[namespace] {
		if index == 0 || index > uint64(len(read)) {
			if was.at > since {
				continue
			}
			v.wrong(&v.unseen, "%s %d: a reader got %s, the log ends at %d", namespace, index, was.name, len(read))
			continue
		}
		if e := read[index-1]; e.Id != was.id || e.name() != was.name {
			v.wrong(&v.unseen, "%s %d: a reader got %s (%s), the log has %s (%s)", namespace, index, was.name, was.id, e.name(), e.Id)
		}
	}
	if n := j.tails[namespace]; n.at <= since && n.index > uint64(len(read)) {
		v.wrong(&v.unseen, "%s: readers were told of %d events, the log ends at %d", namespace, n.index, len(read))
	}
}

func (j *journal) judgeEntry(v *verdict, e *entry, at map[string]event, since int64, forgive bool) {
	got, there := at[e.Name]
	switch {
	case there && e.Answered == 0:
		v.unanswered++
	case there && (got.Id != e.Id || got.Index != e.Index):
		v.wrong(&v.moved, "%s: got %s at %d, was answered %s at %d", e.Name, got.Id, got.Index, e.Id, e.Index)
	case there || e.Answered == 0 || e.Answered > since || e.Forgiven:
	case forgive:
		v.forgiven++
		e.Forgiven = true
	default:
		v.wrong(&v.lost, "%s: was answered %s at %s %d, and is gone", e.Name, e.Id, e.Namespace, e.Index)
	}
}

// judgeGroup: a batch is there whole, in one piece, or not at all; of a stream
// there is a beginning, in each of its namespaces, in its order.
func judgeGroup(v *verdict, g *group, at map[string]event) {
	found := 0
	last, ended := map[string]uint64{}, map[string]bool{}
	for i, e := range g.entries {
		got, there := at[e.Name]
		if !there {
			ended[e.Namespace] = true
			continue
		}
		found++
		if g.whole && got.Index != at[g.entries[0].Name].Index+uint64(i) {
			v.wrong(&v.split, "%s: at %d, away from its batch", e.Name, got.Index)
		}
		if ended[e.Namespace] || got.Index < last[e.Namespace] {
			v.wrong(&v.split, "%s: at %d, though one before it in its stream is not before it", e.Name, got.Index)
		}
		last[e.Namespace] = got.Index
	}
	if g.whole && found != 0 && found != len(g.entries) {
		v.wrong(&v.split, "%s: %d of the %d events of its batch are there", g.entries[0].Name, found, len(g.entries))
	}
}

func (v *verdict) told() string {
	return indent(strings.Join(v.examples[:min(len(v.examples), maxExamples)], "\n"))
}
