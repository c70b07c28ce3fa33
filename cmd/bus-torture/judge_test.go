package main

import (
	"encoding/json"
	"fmt"
	"testing"
)

// threeEvents makes a journal of three answered events of namespace a, sent one after
// the other, and the log that has them.
func threeEvents() (*journal, []event) {
	j := newJournal()
	var log []event
	for i := range 3 {
		e := &entry{Name: fmt.Sprintf("e%d", i), Namespace: "a"}
		j.begin(false, []*entry{e})
		r := receipt{Id: fmt.Sprintf("id%d", i), Index: uint64(i + 1)}
		j.answer(e, r)
		log = append(log, event{Id: r.Id, Subject: "a.load", Index: r.Index, Payload: json.RawMessage(payload(e.Name))})
	}
	return j, log
}

func judged(j *journal, log []event) verdict {
	v := j.judge(map[string][]event{"a": log}, j.now(), false)
	v.examples = nil
	v.events = 0
	return *v
}

func wantVerdict(t *testing.T, got, want verdict) {
	t.Helper()
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestWhatWasAnsweredAndIsThereIsNoFault(t *testing.T) {
	j, log := threeEvents()
	for _, e := range log {
		j.see("a", e)
	}
	j.seeTail("a", 3)
	wantVerdict(t, judged(j, log), verdict{})
}

func TestAnAnsweredEventThatIsGoneIsLost(t *testing.T) {
	j, log := threeEvents()
	wantVerdict(t, judged(j, log[:2]), verdict{lost: 1})
}

func TestAnAnswerThatPromisedLessIsForgivenOnce(t *testing.T) {
	j, log := threeEvents()
	v := j.judge(map[string][]event{"a": log[:2]}, j.now(), true)
	if v.forgiven != 1 || v.faults() != 0 {
		t.Errorf("got %d forgiven and %d faults, want 1 and 0", v.forgiven, v.faults())
	}
	wantVerdict(t, judged(j, log[:2]), verdict{})
}

func TestAnAnswerAfterTheReadBeganNeedNotBeInIt(t *testing.T) {
	j, log := threeEvents()
	since := j.now() - 1
	if v := j.judge(map[string][]event{"a": log[:2]}, since, false); v.faults() != 0 {
		t.Errorf("got %s, want no fault", v)
	}
}

func TestAnEventThatIsThereTwiceIsTold(t *testing.T) {
	j, log := threeEvents()
	again := log[2]
	again.Index, again.Id = 4, "id3"
	// The second one is not where the answer said either.
	wantVerdict(t, judged(j, append(log, again)), verdict{twice: 1, moved: 1})
}

func TestAHoleInTheIndexesIsTold(t *testing.T) {
	j, log := threeEvents()
	log[2].Index = 4
	wantVerdict(t, judged(j, log), verdict{gaps: 1, moved: 1})
}

func TestAnOrderThatIsNotThatOfTheAnswersIsTold(t *testing.T) {
	j, log := threeEvents()
	log[0], log[1] = log[1], log[0]
	log[0].Index, log[1].Index = 1, 2
	wantVerdict(t, judged(j, log), verdict{order: 1, moved: 2})
}

func TestAnotherPayloadAndAnUnknownEventAreTold(t *testing.T) {
	j, log := threeEvents()
	log[1].Payload = json.RawMessage(`{"name":"e1","pad":"x"}`)
	stranger := event{Id: "id3", Index: 4, Payload: json.RawMessage(payload("nobody"))}
	wantVerdict(t, judged(j, append(log, stranger)), verdict{changed: 2})
}

func TestWhatAReaderHasSeenMustNotGo(t *testing.T) {
	j, log := threeEvents()
	seen := event{Id: "id3", Index: 4, Payload: json.RawMessage(payload("e3"))}
	j.begin(false, []*entry{{Name: "e3", Namespace: "a"}}) // never answered
	j.see("a", seen)
	wantVerdict(t, judged(j, log), verdict{unseen: 1})
	j.seeTail("a", 4)
	wantVerdict(t, judged(j, log), verdict{unseen: 2})
}

func TestWhatIsToldInTheDarkBindsNobody(t *testing.T) {
	j, log := threeEvents()
	e := &entry{Name: "e3", Namespace: "a"}
	j.begin(false, []*entry{e})
	j.goDark(true)
	j.answer(e, receipt{Id: "id3", Index: 4})
	j.see("a", event{Id: "id3", Index: 4, Payload: json.RawMessage(payload("e3"))})
	j.seeTail("a", 4)
	j.goDark(false)
	wantVerdict(t, judged(j, log), verdict{})
}

func TestABatchInPartsIsTold(t *testing.T) {
	j, log := threeEvents()
	j.begin(true, []*entry{{Name: "b0", Namespace: "a"}, {Name: "b1", Namespace: "a"}})
	part := event{Id: "id3", Index: 4, Payload: json.RawMessage(payload("b0"))}
	wantVerdict(t, judged(j, append(log, part)), verdict{split: 1, unanswered: 1})
}

func TestAStreamWithoutItsBeginningIsTold(t *testing.T) {
	j, log := threeEvents()
	j.begin(false, []*entry{{Name: "s0", Namespace: "a"}, {Name: "s1", Namespace: "b"}, {Name: "s2", Namespace: "a"}})
	part := event{Id: "id3", Index: 4, Payload: json.RawMessage(payload("s2"))}
	wantVerdict(t, judged(j, append(log, part)), verdict{split: 1, unanswered: 1})
}

func TestALogThatHasFailedTakesNothingUntilItIsOpenedAgain(t *testing.T) {
	j, log := threeEvents()
	refusal := receipt{Code: "storage_failed", Detail: "namespace a takes no more events until the server is started again"}
	send := func(name, namespace string) *entry {
		e := &entry{Name: name, Namespace: namespace}
		j.begin(false, []*entry{e})
		j.again([]*entry{e})
		return e
	}
	under, other := send("under-way", "a"), send("other", "b")
	j.refuse(refusal)
	later, again := send("later", "a"), send("again", "a")
	j.answer(under, receipt{Id: "id3", Index: 4})                  // was sent before
	j.answer(other, receipt{Id: "id0", Index: 1})                  // to another log
	j.answer(again, receipt{Id: "id4", Index: 5, Duplicate: true}) // says what was stored before
	if len(j.mistakes) != 0 {
		t.Fatalf("got %q, want no mistake", j.mistakes)
	}
	j.answer(later, receipt{Id: "id5", Index: 6})
	if v := j.judge(map[string][]event{"a": log}, 0, false); v.changed != 1 {
		t.Errorf("got %s, want the answer of a log that has failed to be told", v)
	}
	if got := j.reopen(); got != 1 {
		t.Errorf("got %d logs that had failed, want 1", got)
	}
	j.answer(send("reopened", "a"), receipt{Id: "id6", Index: 7})
	if len(j.mistakes) != 0 {
		t.Errorf("got %q of a log that was opened again, want no mistake", j.mistakes)
	}
}

func TestAFullDiskIsNoFailedLog(t *testing.T) {
	j, _ := threeEvents()
	j.refuse(receipt{Code: "no_space", Detail: "namespace b: write 10 bytes: no space left on device"})
	if !j.wasRefused("b") || j.wasRefused("a") || j.refusalsOf("no_space") != 1 || j.reopen() != 0 {
		t.Errorf("got refused %v, %d refusals; want only b's, once, and no failed log", j.refused, j.refusalsOf("no_space"))
	}
}
