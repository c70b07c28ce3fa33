package server_test

import (
	"strings"
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/server"
)

func TestABoundedReadEndsWithAFrameThatSaysWhichBoundAndWhereToGoOn(t *testing.T) {
	b := openBus(t)
	b.publish(`[{"subject":"orders.1"},{"subject":"orders.2"},{"subject":"orders.3"},{"subject":"orders.x.y"}]`)
	for query, want := range map[string]struct {
		subjects, bound string
		seen            uint64
	}{
		"limit=2":                      {"orders.1 orders.2", "limit", 2},
		"until=newest":                 {"orders.1 orders.2 orders.3", "until", 4},
		"wait=1ms":                     {"orders.1 orders.2 orders.3", "wait", 4},
		"limit=2&until=newest&wait=1h": {"orders.1 orders.2", "limit", 2},
		"limit=9&until=newest&wait=1h": {"orders.1 orders.2 orders.3", "until", 4},
	} {
		s := b.open("subject=orders.*&start=oldest&" + query)
		if got := s.subjects(strings.Count(want.subjects, " ") + 1); got != want.subjects {
			t.Errorf("%s: got %s, want %s", query, got, want.subjects)
		}
		if got, want := s.reached(want.bound).id, b.resumeAt(want.seen); got != want {
			t.Errorf("%s: got resume point %s, want %s", query, got, want)
		}
	}
	b.open("subject=app.*&start=oldest&until=newest").reached("until")
}

// resumeAt is the resume point of who has seen the orders up to an index.
func (b *testBus) resumeAt(index uint64) string {
	return bus.FormatID(bus.Position{Incarnation: b.engine.Incarnation("orders"), Index: index})
}

func TestTheEndOfABoundedReadNamesWhatIsAcknowledgedNotWhatWasSeen(t *testing.T) {
	b := openBus(t)
	b.publish(`[{"subject":"orders.1"},{"subject":"orders.2"},{"subject":"orders.3"}]`)
	s := b.open("subject=orders.*&start=oldest&ack=manual&redelivery=1h&wait=2s")
	one := s.next("msg")
	s.next("msg")
	three := s.next("msg")
	b.ack(s, one, "")
	b.ack(s, three, "")
	if got, want := s.reached("wait").id, b.resumeAt(1); got != want {
		t.Errorf("wait: got resume point %s, want %s", got, want)
	}
	for bound, query := range map[string]string{"limit": "limit=3", "until": "until=newest"} {
		s := b.open("subject=orders.*&start=oldest&ack=manual&redelivery=1h&" + query)
		s.subjects(2)
		b.ack(s, s.next("msg"), "&up_to=true")
		if got, want := s.reached(bound).id, b.resumeAt(3); got != want {
			t.Errorf("%s: got resume point %s, want %s", bound, got, want)
		}
	}
}

// A redelivery counts towards no limit: with the second of two events still to
// come, a stream whose first was redelivered has not reached it.
func TestARedeliveryDoesNotReachALimit(t *testing.T) {
	b := openBus(t)
	b.publish(`{"subject":"orders.1"}`)
	s := b.open("subject=orders.*&start=oldest&until=newest&ack=manual&redelivery=10ms&redelivery_count=3&limit=2")
	s.subjects(2)
	b.ack(s, s.next("msg"), "")
	s.reached("until")
}

func TestAStreamThatIsLetGoDoesNotClaimToHaveReachedItsBound(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.MaxStreamAge = 10 * time.Millisecond })
	if retry := b.open("subject=orders.*&limit=1&wait=1h").ended(); len(retry) != 4 {
		t.Errorf("old: retry: got %q, want 1000 to 5000", retry)
	}
	b = openBus(t)
	s := b.open("subject=orders.*&limit=1&wait=1h")
	b.stop()
	if retry := s.ended(); len(retry) != 4 {
		t.Errorf("stopped: retry: got %q, want 1000 to 5000", retry)
	}
}

func TestTheEndOfAReadWithNothingToResumeHasNoResumePoint(t *testing.T) {
	b := openBus(t)
	if got := b.open("subject=_bus_.mine&wait=1ms").reached("wait").id; got != "" {
		t.Errorf("got resume point %q, want none", got)
	}
}
