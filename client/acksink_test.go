package client

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// newAckSink answers acknowledgements as the server does: all that a request names, or none, with
// the first one that it refuses.
// Ids that begin with "bad" were not delivered, those with "torn" cannot be read.
func newAckSink(t *testing.T, opts ...ClientOption) *wire {
	t.Helper()
	return newWire(t, func(_ int, w http.ResponseWriter, r *http.Request) { answerAck(w, r) }, opts...)
}

func answerAck(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("consumer_id") == "c_gone" {
		problem(w, 404, "unknown_consumer", "gone")
		return
	}
	for _, id := range q["event_id"] {
		switch {
		case strings.HasPrefix(id, "bad"):
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(404)
			fmt.Fprintf(w, `{"title":"refused","status":404,"code":"not_delivered","event_id":%q}`, id)
			return
		case strings.HasPrefix(id, "torn"):
			problem(w, 500, "read_failed", "the disk")
			return
		}
	}
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, `{"acked":%d}`, len(q["event_id"]))
}

// groups returns the ids of each request, sorted, since goroutines have no order.
func (s *wire) groups() (all [][]string) {
	for _, r := range s.seen() {
		q, _ := url.ParseQuery(r.query)
		if r.method == http.MethodPut {
			all = append(all, slices.Sorted(slices.Values(q["event_id"])))
		}
	}
	return all
}

// sizes returns how many ids each request had.
func (s *wire) sizes() (all []int) {
	for _, ids := range s.groups() {
		all = append(all, len(ids))
	}
	return all
}

// numbered returns n ids.
func numbered(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("e_%03d", i)
	}
	return ids
}
