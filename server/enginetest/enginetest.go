// Package enginetest is the contract of server.Engine as a test suite. An
// engine that passes it can stand behind the server; it knows nothing of how
// one keeps its events.
package enginetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/server"
)

// patience is how long a test waits for something that must happen. It is no
// measure of speed: a good engine never uses it up.
const patience = 30 * time.Second

// Open opens the engine that keeps its events under dir. The suite closes what
// it opened before it opens the same dir again.
type Open func(t *testing.T, dir string, namespaces ...string) server.Engine

// Run judges the engines that open makes.
func Run(t *testing.T, open func(t *testing.T, dir string, namespaces ...string) server.Engine) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, open Open)
	}{
		{"NamespacesAreSortedAndDurabilityIsNamed", namespacesAreSorted},
		{"AnEmptyNamespaceHasBoundsOneOne", emptyBounds},
		{"AppendFillsIndexIDAndTime", appendFills},
		{"AppendKeepsWhatThePublisherChose", appendKeeps},
		{"AppendingNothingStoresNothing", appendNothing},
		{"IndexesHaveNoHolesUnderConcurrentAppends", noHoles},
		{"ABatchIsWholeAndInOrder", batchInOrder},
		{"ARefusedBatchLeavesNothing", refusedBatch},
		{"AnIDOfTheSameLogCannotBeChosen", ownIDRefused},
		{"NamespacesHaveOrdersOfTheirOwn", ownOrders},
		{"AnUnknownNamespaceIsAnswered", unknownNamespace},
		{"PayloadsComeBackByteForByte", payloadBytes},
		{"AReaderEndsWithEOFAndGoesOnLater", readerGoesOn},
		{"AReaderSeeksInBothDirections", readerSeeks},
		{"ReadersBesideWritersSeeEveryIndexOnce", readersBesideWriters},
		{"WhatAppendAnsweredIsReadableSoon", readableAfterAppend},
		{"WaitEndsWithItsContext", waitContext},
		{"CloseEndsEveryWait", closeEndsWait},
		{"ClosingTwiceIsFine", closeTwice},
		{"AClosedEngineTakesNothing", closedAppend},
		{"OwnIDsAreFound", findOwn},
		{"ChosenIDsAreFoundAsSoonAsAppendReturned", findChosen},
		{"IDsOfAnotherLogAreFound", findForeign},
		{"OfAnIDStoredTwiceTheFirstIsFound", findTwice},
		{"UnknownIDsAreUnknown", findUnknown},
		{"IndexAtFindsTheFirstOfATime", indexAt},
		{"SkippingHidesNoEvent", skipHidesNothing},
		{"SkippingTakesAnyQuestion", skipStrangers},
		{"AConditionOnTheNamespaceHoldsOrNothingIsStored", conditionOnNamespace},
		{"AConditionOnTheSubjectHoldsOrNothingIsStored", conditionOnSubject},
		{"Of64ThatExpectOneIndexExactlyOneWins", oneWinner},
		{"ConditionsAndNewestAreLikeAModelOverReopening", conditionsLikeAModel},
		{"NewestIsBounded", newestBounds},
		{"NewestBesideWritersIsOfOneMoment", newestBesideWriters},
		{"AnEventThatWaitsIsReleasedOnceWhenItIsDue", releasedOnce},
		{"EventsComeDueInTheOrderOfTheirTimes", releasedInOrder},
		{"WhatWaitsOutlivesReopening", waitsOverReopening},
		{"TheIDOfAnEventThatWaitedFindsItsDelivery", findDelivery},
		{"OnlySoManyEventsWaitAndABatchIsRefusedWhole", waitsAreBounded},
		{"NewestIsWhatWasDeliveredAndConditionsAreWhatWasPublished", newestOfWaiting},
		{"RandomDelaysAreDeliveredOnceAndNeverEarlyOverReopening", delaysLikeAModel},
		{"ReopeningKeepsEverything", reopenKeeps},
		{"ReopeningFindsChosenIDs", reopenFinds},
		{"ReopeningGoesOnCounting", reopenCounts},
		{"InspectSaysWhatThereIs", inspect},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open) })
	}
}

// start opens an engine in a new place and closes it at the end of the test.
func start(t *testing.T, open Open, namespaces ...string) server.Engine {
	t.Helper()
	e := open(t, t.TempDir(), namespaces...)
	t.Cleanup(func() { e.Close() })
	return e
}

func event(subject, payload string) bus.Event {
	return bus.Event{Subject: subject, Payload: []byte(payload)}
}

// numbered returns n events whose payloads are their numbers from 0.
func numbered(subject string, n int) []bus.Event {
	events := make([]bus.Event, n)
	for i := range events {
		events[i] = event(subject, fmt.Sprint(i))
	}
	return events
}

func mustAppend(t *testing.T, e server.Engine, events ...bus.Event) []bus.Event {
	t.Helper()
	if err := e.Append(t.Context(), bus.Namespace(events[0].Subject), events); err != nil {
		t.Fatalf("append: %v", err)
	}
	return events
}

// waitFor waits until everything below next is readable.
func waitFor(t *testing.T, e server.Engine, namespace string, next uint64) {
	t.Helper()
	if next == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := e.Wait(ctx, namespace, next-1); err != nil {
		t.Fatalf("waiting for index %d to be readable: %v", next-1, err)
	}
}

// readAll reads from an index up to the end that is readable now.
func readAll(t *testing.T, e server.Engine, namespace string, from uint64) []bus.Event {
	t.Helper()
	r := e.Reader(namespace, from)
	defer r.Close()
	var all []bus.Event
	for {
		events, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		if len(events) == 0 {
			t.Fatal("got no events and no error, wanted at least one event")
		}
		all = append(all, events...)
	}
}

// checkIndexes checks that events have the indexes from first on, without holes.
func checkIndexes(t *testing.T, events []bus.Event, first uint64) {
	t.Helper()
	for i := range events {
		if got, want := events[i].Index, first+uint64(i); got != want {
			t.Fatalf("event %d: got index %d, want %d", i, got, want)
		}
	}
}

// same compares what a stored event must keep.
func same(t *testing.T, got, want bus.Event) {
	t.Helper()
	if !got.CreatedAt.Equal(want.CreatedAt) {
		t.Errorf("index %d: got created_at %s, want %s", want.Index, got.CreatedAt, want.CreatedAt)
	}
	if string(got.Payload) != string(want.Payload) {
		t.Errorf("index %d: got payload %q, want %q", want.Index, got.Payload, want.Payload)
	}
	got.CreatedAt, want.CreatedAt = time.Time{}, time.Time{}
	got.Payload, want.Payload = nil, nil
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		t.Errorf("got  %s\nwant %s", g, w)
	}
}

func sameAll(t *testing.T, got, want []bus.Event) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d events, want %d", len(got), len(want))
	}
	for i := range want {
		same(t, got[i], want[i])
	}
}
