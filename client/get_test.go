package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
)

func TestEveryGetOptionReachesTheServer(t *testing.T) {
	at := time.Date(2026, 1, 31, 12, 0, 0, 5, time.FixedZone("", 3600))
	for want, opt := range map[string]GetOption{
		"subject=a.b&subject=app.%2A":                              WithSubject("a.b"),
		"start=oldest&subject=app.%2A":                             WithStartFrom(StartOldest),
		"start=%2342&subject=app.%2A":                              WithStartFrom("#42"),
		"start=last&subject=app.%2A":                               WithStartFrom(StartLast),
		"start=15m&subject=app.%2A":                                WithStartFrom("15m"),
		"start=2026-01-31T11%3A00%3A00.000000005Z&subject=app.%2A": WithStartTime(at),
		"ack=manual&subject=app.%2A":                               WithAckStrategy(AckManual),
		"ack=none&subject=app.%2A":                                 WithAckStrategy(AckNone),
		"redelivery=5s&redelivery_count=3&subject=app.%2A":         WithDelivery(5*time.Second, 3),
		"redelivery=1m0s&redelivery_count=0&subject=app.%2A":       WithDelivery(time.Minute, 0),
		"inflight=1&subject=app.%2A":                               WithInflight(1),
		"limit=5&subject=app.%2A":                                  WithLimit(5),
		"subject=app.%2A&wait=2s":                                  WithWait(2 * time.Second),
		"subject=app.%2A&until=newest":                             WithUntilNewest(),
	} {
		r := newGetRequest([]GetOption{opt, WithSubject("app.*")})
		s := &subscription{req: r, left: r.limit}
		if got := s.query().Encode(); r.err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, r.err, want)
		}
	}
}

func TestAMistakeInAGetIsYieldedOnceAndNothingIsSent(t *testing.T) {
	c := NewClient("http://127.0.0.1:1")
	for name, c2 := range map[string]struct {
		opts []GetOption
		want error
	}{
		"no subject":     {nil, bus.ErrMissingSubject},
		"bad pattern":    {[]GetOption{WithSubject("app.>.x")}, bus.ErrInvalidSubject},
		"limit 0":        {[]GetOption{WithSubject("app.x"), WithLimit(0)}, bus.ErrInvalidParameter},
		"inflight 0":     {[]GetOption{WithSubject("app.x"), WithInflight(0)}, bus.ErrInvalidParameter},
		"no wait":        {[]GetOption{WithSubject("app.x"), WithWait(0)}, bus.ErrInvalidParameter},
		"no redelivery":  {[]GetOption{WithSubject("app.x"), WithDelivery(0, 3)}, bus.ErrInvalidParameter},
		"first mistake":  {[]GetOption{WithSubject("app"), WithLimit(0)}, bus.ErrInvalidParameter},
		"second subject": {[]GetOption{WithSubject("app.x"), WithSubject("")}, bus.ErrInvalidSubject},
	} {
		n := 0
		for e, err := range c.Get(t.Context(), c2.opts...) {
			if n++; e != nil || !errors.Is(err, c2.want) {
				t.Errorf("%s: got %v, %v, want %v", name, e, err, c2.want)
			}
		}
		if n != 1 {
			t.Errorf("%s: got %d errors, want 1", name, n)
		}
	}
}

func TestAnEventArrivesWithAllItsFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const text = `{"id":"e_4","subject":"app.x","index":4,"created_at":"2026-01-31T12:00:00.5Z","trace_id":"t","key":"k","response_subject":"_bus_.r","attempt":3,"payload":{"a":1},"later":"field"}`
		const raw = `{"id":"e_5","subject":"app.x","index":5,"created_at":"2026-01-31T12:00:00Z","content_type":"image/png","payload_base64":"AAH/"}`
		s := newStreams(t, func(_ int, s *stream) {
			s.send("event: later\ndata: kind\n\ndata: no kind\n\n")
			s.send("id: x\nevent: msg\ndata: %s\n\nid: y\nevent: msg\ndata: %s\n\n", text, raw)
			s.hold()
		})
		var got []*Event
		for e, err := range s.client.Get(t.Context(), WithSubject("app.x"), WithLimit(2)) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e)
		}
		want := bus.Event{Id: "e_4", Subject: "app.x", Index: 4, CreatedAt: time.Date(2026, 1, 31, 12, 0, 0, 5e8, time.UTC),
			TraceId: "t", Key: "k", ResponseSubject: "_bus_.r", Payload: json.RawMessage(`{"a":1}`)}
		if e := got[0]; fmt.Sprintf("%+v", e.Event) != fmt.Sprintf("%+v", want) || e.Attempt != 3 || e.ConsumerId != "c_1" {
			t.Errorf("got %+v, want %+v", e, want)
		}
		if e := got[1]; e.ContentType != "image/png" || string(e.Payload) != "\x00\x01\xff" || e.Attempt != 1 {
			t.Errorf("bytes: got %+v", e)
		}
		for i, want := range []string{strings.Replace(strings.Replace(text, `,"later":"field"`, "", 1), `,"attempt":3,"payload":{"a":1}`, `,"payload":{"a":1},"attempt":3`, 1), raw} {
			if text, err := json.Marshal(got[i]); err != nil || string(text) != want {
				t.Errorf("written again: got %s, %v, want %s", text, err, want)
			}
		}
		if h := s.seen()[0].header; h.Get("Accept") != "text/event-stream" || h.Get("Last-Event-ID") != "" {
			t.Errorf("headers: got %v", h)
		}
	})
}

func TestEveryEventIsAValueOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 300
		s := newStreams(t, func(_ int, s *stream) {
			for i := 1; i <= n; i++ {
				s.events(i)
			}
			s.hold()
		})
		var got []*Event
		for e, err := range s.client.Get(t.Context(), WithSubject("app.>"), WithLimit(n)) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e)
		}
		for i, e := range got {
			if want := fmt.Sprintf(`{"n":%d}`, i+1); string(e.Payload) != want || e.Index != uint64(i+1) {
				t.Fatalf("event %d: got index %d and %s", i+1, e.Index, e.Payload)
			}
			for j := range e.Payload {
				e.Payload[j] = 'x' // it is the program's to change
			}
		}
	})
}

func TestARefusalIsYieldedOnceAndEndsTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, status := range []int{400, 401, 403, 404, 405, 406, 410, 421} {
			s := newWire(t, func(_ int, w http.ResponseWriter, _ *http.Request) { problem(w, status, "some_code", "why") })
			var got []error
			for e, err := range s.client.Get(t.Context(), WithSubject("app.x")) {
				if e != nil {
					t.Errorf("%d: got an event", status)
				}
				got = append(got, err)
			}
			e, ok := errors.AsType[*Error](errors.Join(got...))
			if len(got) != 1 || !ok || e.Status != status || e.Code != "some_code" || len(s.seen()) != 1 {
				t.Errorf("%d: got %v after %d requests", status, got, len(s.seen()))
			}
		}
		s := newWire(t, func(_ int, w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") })
		if got := collect(s); len(got) != 1 || !strings.Contains(got[0], "check the URL") {
			t.Errorf("other server: got %q", got)
		}
		s = newWire(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
		if got := collect(s); len(got) != 0 || len(s.seen()) != 1 {
			t.Errorf("204: got %q after %d requests, want the end", got, len(s.seen()))
		}
	})
}

func TestAGapThatWasRepairedSaysSinceWhenAndIsResumedBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t, func(n int, s *stream) {
			if n == 1 {
				s.events(1)
				s.send("id: e_behind\nevent: gap\ndata: {\"namespace\":\"app\",\"requested\":\"#2\",\"resumed_index\":4,\"lost\":2,\"reason\":\"damage\",\"repaired_at\":\"2026-01-31T12:00:00Z\"}\n\n")
				return // the connection breaks right behind it
			}
			s.events(4)
			s.hold()
		})
		var gaps []*GapError
		for _, err := range s.client.Get(t.Context(), WithSubject("app.>"), WithLimit(2)) {
			if gap, ok := errors.AsType[*GapError](err); ok {
				gaps = append(gaps, gap)
			}
		}
		if len(gaps) != 1 || gaps[0].RepairedAt.Year() != 2026 || !strings.Contains(gaps[0].Error(), "repaired 2026-01-31") {
			t.Errorf("got %v, want the gap once, with the day of its repair", gaps)
		}
		if got := s.seen()[1].header.Get("Last-Event-ID"); got != "e_behind" {
			t.Errorf("resumed at %q, want behind the gap", got)
		}
	})
}

func TestAGapIsSaidInNumbersAndTheLoopGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t, func(_ int, s *stream) {
			s.events(1)
			s.send("event: gap\ndata: {\"namespace\":\"app\",\"requested\":\"e_1\",\"resumed_index\":114,\"lost\":113,\"reason\":\"retention\"}\n\n")
			s.events(114)
			s.hold()
		})
		var gaps []*GapError
		var got []uint64
		for e, err := range s.client.Get(t.Context(), WithSubject("app.>"), WithLimit(2)) {
			if gap, ok := errors.AsType[*GapError](err); ok {
				gaps = append(gaps, gap)
				continue
			}
			got = append(got, e.Index)
		}
		if want := (GapError{Namespace: "app", Requested: "e_1", ResumedIndex: 114, Lost: 113, Reason: "retention"}); len(gaps) != 1 || *gaps[0] != want {
			t.Errorf("got %+v, want %+v", gaps, want)
		}
		if !slices.Equal(got, []uint64{1, 114}) {
			t.Errorf("events: got %v", got)
		}
		if text := gaps[0].Error(); !strings.Contains(text, "113 events") || !strings.Contains(text, "114") {
			t.Errorf("text: got %q", text)
		}
	})
}

func TestAProblemInTheStreamIsYieldedAndTheLoopGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t, func(n int, s *stream) {
			if n == 1 {
				s.events(1)
				s.send("event: problem\ndata: {\"code\":\"corrupt\",\"title\":\"damaged\",\"detail\":\"at 7\"}\n\n")
				s.send("event: msg\ndata: not json\n\nevent: gap\ndata: [\n\n")
				s.events(2)
				return
			}
			s.events(3)
			s.hold()
		})
		var errs []error
		var got []uint64
		for e, err := range s.client.Get(t.Context(), WithSubject("app.>"), WithLimit(3)) {
			if err != nil {
				errs = append(errs, err)
				continue
			}
			got = append(got, e.Index)
		}
		if !slices.Equal(got, []uint64{1, 2, 3}) || len(errs) != 3 {
			t.Fatalf("got events %v and errors %v", got, errs)
		}
		if !errors.Is(errs[0], bus.ErrCorrupt) || !errors.Is(errs[1], bus.ErrInvalidJSON) || !errors.Is(errs[2], bus.ErrInvalidJSON) {
			t.Errorf("errors: got %v", errs)
		}
	})
}

func TestAnEventLongerThanAllowedEndsTheLoopWithWhatToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t, func(_ int, s *stream) {
			s.events(1)
			s.send("event: msg\ndata: %s\n\n", strings.Repeat("x", 5000))
			s.hold()
		}, WithMaxEvent(4000))
		got := collect(s)
		if len(got) != 2 || got[0] != "1" || !strings.Contains(got[1], "4000 bytes") || !strings.Contains(got[1], "WithMaxEvent") || len(s.seen()) != 1 {
			t.Errorf("got %q after %d requests", got, len(s.seen()))
		}
	})
}

func TestEachLoopOverAGetIsAStreamOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t, func(_ int, s *stream) {
			s.events(1, 2)
			s.hold()
		})
		seq := s.client.Get(t.Context(), WithSubject("app.>"), WithLimit(2))
		for range 2 {
			var got []uint64
			for e := range seq {
				got = append(got, e.Index)
			}
			if !slices.Equal(got, []uint64{1, 2}) {
				t.Errorf("got %v, want 1 and 2", got)
			}
		}
		for _, r := range s.seen() {
			if q, _ := url.ParseQuery(r.query); q.Get("limit") != "2" || r.header.Get("Last-Event-ID") != "" {
				t.Errorf("request: got %q and resume point %q", r.query, r.header.Get("Last-Event-ID"))
			}
		}
	})
}
