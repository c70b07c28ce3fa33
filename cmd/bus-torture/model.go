package main

import (
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// What clients ask of a namespace: to append some events as one, for the event
// at an index, for the index of the newest, and for everything.
const (
	opAppend = iota
	opRead
	opEnd
	opAll
)

// atEnd is after all operations, and before the last look.
const atEnd = math.MaxInt64 - 2

// opInput is what was asked for.
type opInput struct {
	kind      int
	namespace string
	names     []string // of the events, opAppend
	index     uint64   // opRead
}

// opOutput is what was answered.
type opOutput struct {
	index uint64 // of the first event appended, or of the newest
	name  string // of the event read, "" for none
	sum   uint64 // of everything
}

// chain is the state of a namespace: its events, the newest first. It is never
// changed, so that states share their beginnings.
type chain struct {
	before *chain
	name   string
	n      uint64
	sum    uint64 // of all names in their order
}

func (c *chain) add(name string) *chain {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s", c.sum, name)
	return &chain{before: c, name: name, n: c.n + 1, sum: h.Sum64()}
}

// at is the event at an index, "" where there is none.
func (c *chain) at(index uint64) string {
	if index == 0 || index > c.n {
		return ""
	}
	for c.n > index {
		c = c.before
	}
	return c.name
}

// logModel is what one namespace may answer: appended events get the next
// indexes, at once or not at all, and what is at an index stays there.
var logModel = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		parts := make([][]porcupine.Operation, len(namespaces))
		for _, op := range all {
			n := slices.Index(namespaces, op.Input.(opInput).namespace)
			parts[n] = append(parts[n], op)
		}
		return parts
	},
	Init: func() any { return &chain{} },
	Step: func(state, input, output any) (bool, any) {
		return step(state.(*chain), input.(opInput), output.(opOutput))
	},
	Equal: func(a, b any) bool { return a.(*chain).n == b.(*chain).n && a.(*chain).sum == b.(*chain).sum },
	Hash:  func(state any) uint64 { return state.(*chain).sum },
	DescribeOperation: func(input, output any) string {
		return describe(input.(opInput), output.(opOutput))
	},
	DescribeState: func(state any) string {
		c := state.(*chain)
		return fmt.Sprintf("%d events, the newest is %q", c.n, c.name)
	},
}

func step(c *chain, in opInput, out opOutput) (bool, *chain) {
	switch in.kind {
	case opRead:
		return c.at(in.index) == out.name, c
	case opEnd:
		return c.n == out.index, c
	case opAll:
		return c.n == out.index && c.sum == out.sum, c
	}
	if out.index != c.n+1 {
		return false, c
	}
	for _, name := range in.names {
		c = c.add(name)
	}
	return true, c
}

func describe(in opInput, out opOutput) string {
	switch in.kind {
	case opRead:
		return fmt.Sprintf("%s %d: %q", in.namespace, in.index, out.name)
	case opEnd:
		return fmt.Sprintf("%s ends at %d", in.namespace, out.index)
	case opAll:
		return fmt.Sprintf("%s has %d events", in.namespace, out.index)
	}
	return fmt.Sprintf("append %s to %s: %d", strings.Join(in.names, ", "), in.namespace, out.index)
}

// settled makes a history complete by what is in the logs at its end. An append
// whose answer was lost may have happened at any time after it was asked for, or
// never: where its events are in the end they were appended there; where they
// are not, and a log never loses any, it did not happen. A reader that saw them
// all the same makes the history illegal.
func settled(all []porcupine.Operation, logs map[string][]event) []porcupine.Operation {
	at := make(map[string]uint64)
	for _, log := range logs {
		for i, e := range log {
			at[e.name()] = uint64(i + 1)
		}
	}
	var history []porcupine.Operation
	for _, op := range all {
		in := op.Input.(opInput)
		if in.kind == opAppend && op.Output == nil {
			index, there := at[in.names[0]]
			if !there {
				continue
			}
			op.Output, op.Return = opOutput{index: index}, atEnd
		}
		history = append(history, op)
	}
	for namespace, log := range logs {
		c := &chain{}
		for _, e := range log {
			c = c.add(e.name())
		}
		history = append(history, porcupine.Operation{
			Input: opInput{kind: opAll, namespace: namespace}, Output: opOutput{index: c.n, sum: c.sum}, Call: atEnd + 1, Return: atEnd + 2,
		})
	}
	return history
}
