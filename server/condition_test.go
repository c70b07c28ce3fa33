package server_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// stores publishes and checks that it gets this index.
func (b *testBus) stores(want string, path, body string, headers ...string) answer {
	b.t.Helper()
	a := b.do("POST", path, body, headers...)
	if got := a.header.Get("X-BUS-EVENT-INDEX"); a.status != http.StatusAccepted || got != want {
		b.t.Errorf("POST %s %v: got %d %s, want index %s", path, headers, a.status, a.body, want)
	}
	return a
}

// wrong publishes and checks that it is refused with this actual index.
func (b *testBus) wrong(actual string, path, body string, headers ...string) {
	b.t.Helper()
	a := b.refused(http.StatusPreconditionFailed, "wrong_index", "POST", path, body, headers...)
	if got := a.field("index"); got != actual || !strings.Contains(a.field("detail"), "nothing was stored") {
		b.t.Errorf("POST %s %v: got %s, want index %s and what to do", path, headers, a.body, actual)
	}
}

func TestAPublishOnAConditionIsStoredOrRefusedWithTheActualIndex(t *testing.T) {
	b := openBus(t)
	const one = `{"subject":"orders.a"}`
	b.wrong("0", "/?expected_index=1", one)
	b.wrong("0", "/?expected_subject_index=1", one)
	b.stores("1", "/?expected_index=0&expected_subject_index=0", one)
	b.wrong("1", "/?expected_index=0", one)
	b.stores("2", "/", one, `If-Match: "1"`)
	b.stores("3", "/", `{"subject":"orders.b"}`, "If-Match: 2")
	b.wrong("3", "/", one, `If-Match: "2"`)
	b.stores("4", "/?expected_subject_index=2", one)
	b.wrong("4", "/?expected_subject_index=2", one)
	b.stores("5", "/?subject=orders.b&expected_subject_index=3", "text", "Content-Type: text/plain")
	b.stores("6", "/?expected_index=5", one, `If-Match: "5"`)
	b.stores("7", "/?expected_index=&expected_subject_index=", one, "If-Match: ")
	if got := len(b.stored("orders", 7)); got != 7 {
		t.Errorf("got %d events, want 7: nothing of what was refused", got)
	}
}

func TestAConditionOnABatchIsOnTheStateBeforeIt(t *testing.T) {
	b := openBus(t)
	batch := `[{"subject":"orders.a"},{"subject":"orders.a"}]`
	for i := range 3 {
		path := fmt.Sprintf("/?expected_index=%d&expected_subject_index=%[1]d", 2*i)
		if a := b.do("POST", path, batch); a.status != http.StatusAccepted {
			t.Fatalf("%s: got %d %s, want 202", path, a.status, a.body)
		}
		b.wrong(fmt.Sprint(2*i+2), path, batch)
	}
	b.refused(400, "invalid_parameter", "POST", "/?expected_subject_index=6", `[{"subject":"orders.a"},{"subject":"orders.b"}]`)
	b.refused(400, "invalid_parameter", "POST", "/?expected_index=6", `[]`)
	b.wrong("6", "/?expected_index=5", `[{"subject":"orders.a"},{"subject":"orders.b"}]`)
}

func TestAConditionThatCannotBeMeantIsRefused(t *testing.T) {
	b := openBus(t)
	for _, path := range []string{"/?expected_index=-1", "/?expected_index=%2B1", "/?expected_index=1.0", "/?expected_index=281474976710656", "/?expected_subject_index=x", "/?expected_index=1&expected_index=2", "/?expected_index=x&reply=true"} {
		b.refused(400, "invalid_parameter", "POST", path, `{"subject":"orders.a"}`)
	}
	for _, match := range []string{`*`, `W/"1"`, `"1", "2"`, `"`, `""`, `"x"`, `"1`, `-1`, `+1`} {
		b.refused(400, "invalid_parameter", "POST", "/", `{"subject":"orders.a"}`, "If-Match: "+match)
	}
	b.refused(400, "invalid_parameter", "POST", "/", `{"subject":"orders.a"}`, `If-Match: "1"`, `If-Match: "1"`)
	b.refused(400, "invalid_parameter", "POST", "/?expected_index=2", `{"subject":"orders.a"}`, `If-Match: "1"`)
	b.refused(400, "invalid_parameter", "POST", "/?expected_index=0", `{"subject":"_bus_.x"}`)
	b.refused(400, "invalid_parameter", "POST", "/?expected_subject_index=0", `{"subject":"_bus_.x"}`)
	for path, match := range map[string]string{"/": `"0"`, "/?expected_index=0": "", "/?expected_subject_index=0": ""} {
		a := b.refused(400, "invalid_parameter", "POST", path, `{"subject":"orders.a"}`, "Content-Type: application/x-ndjson", "If-Match: "+match)
		if !strings.Contains(a.body, "batch") {
			t.Errorf("got %s, want the hint at a batch", a.body)
		}
	}
	b.stores("1", "/?expected_index=0", `{"subject":"orders.a"}`)
}

// The answer was lost, and the state has gone on: whoever repeats has to hear that the
// event is stored, not that somebody (he himself) was faster.
func TestARepeatWithItsKeyIsAnsweredBeforeTheConditionIsLookedAt(t *testing.T) {
	b := openBus(t)
	const path = "/?subject=orders.a&key=k&expected_index=0&expected_subject_index=0"
	first := b.stores("1", path, "1")
	b.publish(`{"subject":"orders.a"}`)
	for range 2 {
		if again := b.stores("1", path, "1"); again.field("duplicate") != "true" || again.field("id") != first.field("id") {
			t.Errorf("got %s, want the first receipt %s", again.body, first.body)
		}
		b.restart()
	}
	b.wrong("2", "/?subject=orders.a&key=other&expected_index=0", "1")
	b.stores("3", "/?subject=orders.a&key=other&expected_index=2", "1") // what was refused has not used the key up
	b.stores("4", "/?subject=orders.a&id=mine&expected_index=3", "1")
	b.stores("4", "/?subject=orders.a&id=mine&expected_index=3", "1")
	b.refused(422, "key_conflict", "POST", "/?subject=orders.a&key=k&expected_index=0", "2")
}

func TestAConditionGoesWithConfirmationsAndReplies(t *testing.T) {
	b := openBus(t)
	s := b.open("subject=orders.*")
	b.wrong("0", "/?expected_index=5&confirm=1", `{"subject":"orders.a"}`)
	b.wrong("0", "/?expected_subject_index=5&reply=true", `{"subject":"orders.a"}`)
	for i, wait := range []string{"confirm=1", "reply=true"} {
		done := make(chan answer)
		go func() {
			done <- b.do("POST", fmt.Sprintf("/?%s&timeout=20s&expected_index=%d", wait, i), `{"subject":"orders.a"}`)
		}()
		f := s.next("msg")
		b.do("PUT", "/?consumer_id="+s.hello.field("consumer_id")+"&event_id="+f.field("id"), "1")
		if a := <-done; a.status/100 != 2 {
			t.Errorf("%s: got %d %s, want it answered", wait, a.status, a.body)
		}
	}
}

func TestOf64PublishersThatExpectOneIndexExactlyOneWinsEachRound(t *testing.T) {
	b := openBus(t)
	index := 0
	for round := range 10 {
		name := []string{"expected_index", "expected_subject_index"}[round%2]
		var wg sync.WaitGroup
		var won, index64 atomic.Int64
		for range 64 {
			wg.Go(func() {
				a := b.do("POST", fmt.Sprintf("/?%s=%d", name, index), `{"subject":"orders.raced"}`)
				switch a.status {
				case http.StatusAccepted:
					won.Add(1)
					index64.Store(int64(index + 1))
				case http.StatusPreconditionFailed:
					if got, want := a.field("index"), fmt.Sprint(index+1); got != want {
						t.Errorf("got %s, want the actual index %s", a.body, want)
					}
				default:
					t.Errorf("got %d %s, want 202 or 412", a.status, a.body)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("round %d: %d of 64 won, want 1", round, won.Load())
		}
		index = int(index64.Load())
	}
}

func TestAConditionIsTrueOverRestarts(t *testing.T) {
	b := openBus(t)
	for i := range 3 {
		b.wrong(fmt.Sprint(2*i), "/?expected_subject_index=99", `{"subject":"orders.a"}`)
		b.stores(fmt.Sprint(2*i+1), fmt.Sprintf("/?expected_subject_index=%d", 2*i), `{"subject":"orders.a"}`)
		b.restart()
		b.wrong(fmt.Sprint(2*i+1), "/?expected_index=99", `{"subject":"orders.a"}`)
		b.stores(fmt.Sprint(2*i+2), fmt.Sprintf("/?expected_index=%d", 2*i+1), `{"subject":"orders.a"}`)
	}
}

// FuzzAnIfMatchIsAnIndexOrRefused: whatever the header says, it is an index that is
// looked at, or a mistake. It is never passed over: that would turn safety off.
func FuzzAnIfMatchIsAnIndexOrRefused(f *testing.F) {
	for _, seed := range []string{`"0"`, "0", `"41"`, "*", `W/"1"`, `"1","2"`, `""`, `"`, " 7 ", "\"281474976710656\"", "+1", "1_0", "0x1"} {
		f.Add(seed)
	}
	s, _ := fuzzServer(f)
	f.Fuzz(func(t *testing.T, match string) {
		if strings.Trim(match, " \t") == "" {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		r := &http.Request{Method: "POST", URL: &url.URL{Path: "/", RawQuery: "subject=orders.a"}, Host: "bus", Header: http.Header{"If-Match": {match}}, Body: http.NoBody}
		w := &recorder{statusRecorder: statusRecorder{header: make(http.Header)}}
		s.Handler().ServeHTTP(w, r.WithContext(ctx))
		checkAnswer(t, w)
		stored := w.header.Get("X-Bus-Event-Index")
		if w.status == http.StatusAccepted && strings.Trim(match, "\" \t0") != strings.Trim(fmt.Sprint(before(stored)), "0") {
			t.Errorf("If-Match %q: got index %s", match, stored)
		}
	})
}

func before(index string) (n uint64) {
	fmt.Sscan(index, &n)
	return n - 1
}
