package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// opOf makes an operation of namespace a that took from call to end.
func opOf(call, end int64, in opInput, out any) porcupine.Operation {
	in.namespace = "a"
	return porcupine.Operation{Input: in, Output: out, Call: call, Return: end}
}

func appended(call, end int64, name string, index uint64) porcupine.Operation {
	return opOf(call, end, opInput{kind: opAppend, names: []string{name}}, opOutput{index: index})
}

// unanswered is an append whose answer did not come.
func unanswered(call, end int64, names ...string) porcupine.Operation {
	return opOf(call, end, opInput{kind: opAppend, names: names}, nil)
}

func readAt(call, end int64, index uint64, name string) porcupine.Operation {
	return opOf(call, end, opInput{kind: opRead, index: index}, opOutput{name: name})
}

func endAt(call, end int64, index uint64) porcupine.Operation {
	return opOf(call, end, opInput{kind: opEnd}, opOutput{index: index})
}

// logOf is what is found in the end.
func logOf(names ...string) map[string][]event {
	var all []event
	for i, name := range names {
		all = append(all, event{Index: uint64(i + 1), Payload: []byte(fmt.Sprintf(`{"name":%q}`, name))})
	}
	return map[string][]event{"a": all}
}

func TestAHistoryIsLegalWhenOneOrderExplainsIt(t *testing.T) {
	for _, c := range []struct {
		name string
		all  []porcupine.Operation
		logs map[string][]event
		want porcupine.CheckResult
	}{
		{"one after the other", []porcupine.Operation{appended(1, 2, "x", 1), readAt(3, 4, 1, "x"), endAt(5, 6, 1)}, logOf("x"), porcupine.Ok},
		{"read while it is appended", []porcupine.Operation{appended(1, 9, "x", 1), readAt(2, 3, 1, ""), readAt(4, 5, 1, "x")}, logOf("x"), porcupine.Ok},
		{"seen and then not", []porcupine.Operation{appended(1, 9, "x", 1), readAt(2, 3, 1, "x"), readAt(4, 5, 1, "")}, logOf("x"), porcupine.Illegal},
		{"answered and not there", []porcupine.Operation{appended(1, 2, "x", 1), readAt(3, 4, 1, "")}, logOf("x"), porcupine.Illegal},
		{"an end that was told too early", []porcupine.Operation{endAt(1, 2, 1), appended(3, 4, "x", 1)}, logOf("x"), porcupine.Illegal},
		{"answered and gone in the end", []porcupine.Operation{appended(1, 2, "x", 1)}, logOf(), porcupine.Illegal},
		{"two at one index", []porcupine.Operation{appended(1, 2, "x", 1), appended(1, 2, "y", 1)}, logOf("x"), porcupine.Illegal},
		{"an order that is not that of the answers", []porcupine.Operation{appended(1, 2, "x", 2), appended(3, 4, "y", 1)}, logOf("y", "x"), porcupine.Illegal},
		{"not answered and not there", []porcupine.Operation{unanswered(1, 2, "x"), appended(3, 4, "y", 1)}, logOf("y"), porcupine.Ok},
		{"not answered and there later", []porcupine.Operation{unanswered(1, 2, "x"), appended(3, 4, "y", 1), readAt(5, 6, 2, "x")}, logOf("y", "x"), porcupine.Ok},
		{"not answered, seen, and gone", []porcupine.Operation{unanswered(1, 2, "x"), readAt(3, 4, 1, "x")}, logOf(), porcupine.Illegal},
		{"a batch of which a part is seen", []porcupine.Operation{unanswered(1, 9, "x", "y"), endAt(2, 3, 1)}, logOf("x", "y"), porcupine.Illegal},
		{"in the log and sent by nobody", nil, logOf("x"), porcupine.Illegal},
	} {
		if got := porcupine.CheckOperationsTimeout(logModel, settled(c.all, c.logs), time.Minute); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestStatesAreEqualWhenTheirEventsAre(t *testing.T) {
	ab, ba := (&chain{}).add("a").add("b"), (&chain{}).add("b").add("a")
	if again := (&chain{}).add("a").add("b"); !logModel.Equal(ab, again) || logModel.Equal(ab, ba) {
		t.Errorf("got %v and %v, want the same events to be equal, and not another order", logModel.Equal(ab, again), logModel.Equal(ab, ba))
	}
	if got := []string{ab.at(0), ab.at(1), ab.at(2), ab.at(3)}; fmt.Sprint(got) != fmt.Sprint([]string{"", "a", "b", ""}) {
		t.Errorf("got %q at 0 to 3", got)
	}
}
