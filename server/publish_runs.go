package server

import (
	"net/http"

	"example.com/bus"
)

// storeRuns appends the group, one commit for each run, and returns the
// receipts of what was stored even when it fails. The error says the first line that
// was not.
func (in *lineStream) storeRuns(group []bus.Event) (receipts []receipt, err error) {
	for at := 0; at < len(group) && err == nil; {
		var stored []receipt
		next := at + runLength(group[at:])
		stored, err = in.storeRun(group[at:next], in.numbers[at:next])
		receipts, at = append(receipts, stored...), next
	}
	return receipts, in.server.overDelayed(err)
}

// storeRun appends a run, as one commit when nothing is against it. How much arrives
// together is not the publisher's doing, so one line that is refused must not take
// those in front of it along: they are stored without it.
func (in *lineStream) storeRun(run []bus.Event, lines []int) ([]receipt, error) {
	receipts, err := in.server.tryStore(in.r.Context(), run, bus.Condition{})
	if err == nil {
		return receipts, nil
	}
	n := frontOf(err, len(run))
	if n == 0 {
		return nil, in.at(lines[0], err)
	}
	front, err := in.storeRun(run[:n], lines[:n])
	if err != nil {
		return front, err
	}
	rest, err := in.storeRun(run[n:], lines[n:])
	return append(front, rest...), err
}

// frontOf is how many events of a run that was refused are to be tried without the
// others: those in front of the one that the refusal names, otherwise half of them,
// until the one is found. It is 0 when the first is meant, or the trouble is not in
// what was sent: a log that has failed takes none of them.
func frontOf(err error, events int) int {
	e, ok := bus.AsError(err)
	switch {
	case ok && e.Line > 0:
		return min(e.Line, events) - 1
	case !ok || e.Status == http.StatusInternalServerError:
		return 0
	}
	return events / 2
}

// runLength counts the events at the front that can be one commit: of one
// namespace, and no key or id twice, because a line that repeats an earlier one
// is a duplicate and not a mistake.
func runLength(group []bus.Event) int {
	namespace, seen := bus.Namespace(group[0].Subject), make(map[string]bool)
	for n := range group {
		e := &group[n]
		id, key := "id "+e.Id, "key "+e.Key
		if bus.Namespace(e.Subject) != namespace || e.Id != "" && seen[id] || e.Key != "" && seen[key] {
			return n
		}
		seen[id], seen[key] = true, true
	}
	return len(group)
}
