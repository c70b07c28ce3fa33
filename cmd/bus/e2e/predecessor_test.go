//go:build e2e

package e2e

import (
	"fmt"
	"testing"
	"time"
)

// zeroTime is what the predecessor's client sends as created_at.
const zeroTime = "0001-01-01T00:00:00Z"

func predecessor(t *testing.T) wire {
	t.Helper()
	t.Parallel()
	return wire{t: t, base: startServer(t, "app,drawing").url()}
}

func TestPredecessorEmptyFieldsCountAsAbsent(t *testing.T) {
	w := predecessor(t)
	before := time.Now()
	id, index := w.post(`{"id":"","trace_id":"req-1","subject":"app.created","created_at":"` + zeroTime + `","payload":{"a":1}}`)
	got := w.open("app.*", "oldest", "none", "0s").next()
	if got.ID != id || got.ID == "" || got.Index != index || got.Index != 1 {
		t.Errorf("got id %q index %d, want what the headers said: %q %d", got.ID, got.Index, id, index)
	}
	if got.TraceID != "req-1" || got.Subject != "app.created" || string(got.Payload) != `{"a":1}` {
		t.Errorf("got %+v, want the event as it was published", got)
	}
	if got.CreatedAt.Before(before.Add(-time.Minute)) {
		t.Errorf("created_at: got %v, want the time of publishing", got.CreatedAt)
	}
}

// Its batches are encoded by another path than its single events, which writes
// every field.
func TestPredecessorBatchIsTaken(t *testing.T) {
	w := predecessor(t)
	one := `{"id":"","key":"","subject":"app.created","payload":%d,"created_at":"` + zeroTime + `","index":0}`
	w.do("POST", "/", fmt.Sprintf("["+one+","+one+"]", 1, 2))
	stream := w.open("app.>", "oldest", "none", "0s")
	for n := range 2 {
		if got, want := string(stream.next().Payload), fmt.Sprint(n+1); got != want {
			t.Errorf("payload: got %s, want %s", got, want)
		}
	}
}

func TestPredecessorRequestIsAnsweredThroughAnInbox(t *testing.T) {
	w := predecessor(t)
	worker := w.open("app.ask", "newest", "manual", "5s", "redelivery_count", "3")
	inbox := w.open("_bus_.x", "", "none", "0s")
	w.post(`{"id":"","subject":"app.ask","response_subject":"_bus_.x","created_at":"` + zeroTime + `","payload":{"a":4,"b":2}}`)

	asked := worker.next()
	if asked.ResponseSubject != "_bus_.x" {
		t.Fatalf("response_subject: got %q, want _bus_.x", asked.ResponseSubject)
	}
	w.ack(worker.consumerID, asked.ID)
	w.post(`{"id":"","subject":"` + asked.ResponseSubject + `","created_at":"` + zeroTime + `","payload":{"result":6}}`)

	got := inbox.next()
	if got.Subject != "_bus_.x" || string(got.Payload) != `{"result":6}` {
		t.Errorf("reply: got %+v, want the payload {\"result\":6}", got)
	}
}

// A confirmation is an answer without a payload, one from each consumer.
func TestPredecessorConfirmationsComeThroughAnInbox(t *testing.T) {
	w := predecessor(t)
	consumers := []*wireStream{w.open("app.>", "newest", "none", "0s"), w.open("app.done", "newest", "manual", "10s")}
	inbox := w.open("_bus_.confirm-1", "", "none", "0s")
	w.post(`{"id":"","subject":"app.done","response_subject":"_bus_.confirm-1","created_at":"` + zeroTime + `","payload":1}`)
	for _, c := range consumers {
		e := c.next()
		w.ack(c.consumerID, e.ID)
		w.post(`{"id":"","subject":"` + e.ResponseSubject + `","created_at":"` + zeroTime + `"}`)
	}
	for range consumers {
		if got := inbox.next(); got.Subject != "_bus_.confirm-1" {
			t.Errorf("confirmation: got %+v, want one on _bus_.confirm-1", got)
		}
	}
}

// Its client acknowledges whatever it was given, in streams without
// acknowledgement too.
func TestPredecessorAcksInStreamsWithoutAcknowledgementAreTaken(t *testing.T) {
	w := predecessor(t)
	w.post(`{"id":"","subject":"app.a","created_at":"` + zeroTime + `","payload":"hello"}`)
	stream := w.open("app.a", "oldest", "none", "0s")
	e := stream.next()
	w.ack(stream.consumerID, e.ID)
	w.ack(stream.consumerID, e.ID) // a repeat after a lost answer
}

func TestPredecessorNegativeRedeliveryCountMeansWithoutEnd(t *testing.T) {
	w := predecessor(t)
	w.post(`{"id":"","subject":"app.a","created_at":"` + zeroTime + `","payload":1}`)
	stream := w.open("app.a", "oldest", "manual", "50ms", "redelivery_count", "-1")
	first := stream.next()
	for range 5 { // two more than the usual limit
		if got := stream.next(); got.ID != first.ID {
			t.Fatalf("redelivery: got %s, want %s again", got.ID, first.ID)
		}
	}
	w.ack(stream.consumerID, first.ID)
}

// A key makes a repeat harmless. The predecessor answered it with 409; we
// answer with the original, which its client takes as success.
func TestPredecessorRepeatedKeyIsAnsweredWithTheOriginal(t *testing.T) {
	w := predecessor(t)
	body := `{"id":"","key":"k-1","subject":"app.a","created_at":"` + zeroTime + `","payload":1}`
	id, index := w.post(body)
	againID, againIndex := w.post(body)
	if againID != id || againIndex != index {
		t.Errorf("repeat: got %s %d, want the original %s %d", againID, againIndex, id, index)
	}
}
