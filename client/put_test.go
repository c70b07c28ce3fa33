package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
)

const receiptJSON = `{"id":"e_7","index":7,"created_at":"2026-01-31T12:00:00.5Z"}`

func accept(_ int, w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprint(w, receiptJSON)
}

// body is the event a Put sends, as the server reads it.
func body(t *testing.T, r request) bus.Event {
	t.Helper()
	e, err := bus.ParseEvent([]byte(r.body))
	if err != nil {
		t.Fatalf("%s: %v", r.body, err)
	}
	return e
}

func TestEveryPutOptionReachesTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWire(t, accept)
		at := time.Date(2026, 1, 31, 12, 0, 0, 5, time.UTC)
		resp := s.client.Put(t.Context(), WithSubject("app.users"), WithData(map[string]int{"n": 1}),
			WithTraceId("trace"), WithHeader("b", "2"), WithHeader("a", "1"), WithKey("key"), WithId("my-id"), WithCreatedAt(at),
			WithConfirm(2), WithTimeout(5*time.Second))
		if err := resp.Error(); err != nil {
			t.Fatal(err)
		}
		if resp.Id != "e_7" || resp.Index != 7 || resp.Duplicate || !resp.CreatedAt.Equal(time.Date(2026, 1, 31, 12, 0, 0, 5e8, time.UTC)) {
			t.Errorf("receipt: got %+v", resp)
		}
		r := s.seen()[0]
		if got, want := r.method+" "+r.query+" "+r.header.Get("Content-Type"), "POST confirm=2&timeout=5s application/json"; got != want {
			t.Errorf("request: got %q, want %q", got, want)
		}
		got := body(t, r)
		want := bus.Event{Id: "my-id", Subject: "app.users", CreatedAt: at, TraceId: "trace", Key: "key", Headers: map[string]string{"a": "1", "b": "2"}, Payload: json.RawMessage(`{"n":1}`)}
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("event: got %+v, want %+v", got, want)
		}
	})
}

func TestDataArrivesAsItWasGiven(t *testing.T) {
	for _, c := range []struct {
		data any
		want string
	}{
		{"hello", `"hello"`}, {`{"a":1}`, `"{\"a\":1}"`}, {"<&>", `"<&>"`}, {42, `42`}, {nil, `null`}, {true, `true`},
		{json.RawMessage(`{"a": 1}`), `{"a": 1}`}, {[]byte(`[1,2]`), `[1,2]`}, {json.RawMessage("{\n}"), `{}`},
		{json.RawMessage(nil), `null`}, {[]byte(nil), `null`},
		{json.RawMessage(`12345678901234567890.10`), `12345678901234567890.10`},
		{struct{ A, B int }{1, 2}, `{"A":1,"B":2}`}, {[]string{"a"}, `["a"]`},
	} {
		got, err := encodeData(c.data)
		if err != nil || string(got) != c.want {
			t.Errorf("%#v: got %s, %v, want %s", c.data, got, err, c.want)
		}
	}
	for _, bad := range []any{[]byte("not json"), []byte{}, json.RawMessage(`{`), "\xff", make(chan int), func() {}} {
		if got, err := encodeData(bad); !errors.Is(err, bus.ErrInvalidJSON) {
			t.Errorf("%#v: got %s, %v, want invalid_json", bad, got, err)
		}
	}
}

func TestRawBytesAreSentWithTheirContentType(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWire(t, accept)
		if err := s.client.Put(t.Context(), WithSubject("app.pictures"), WithRaw("image/png", []byte{0, 1, 255})).Error(); err != nil {
			t.Fatal(err)
		}
		e := body(t, s.seen()[0])
		if e.ContentType != "image/png" || string(e.Payload) != "\x00\x01\xff" {
			t.Errorf("got %q %q", e.ContentType, e.Payload)
		}
	})
}

func TestABatchIsOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWire(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusAccepted)
			fmt.Fprint(w, `[{"id":"e_1","index":1},{"id":"e_2","index":2,"duplicate":true}]`)
		})
		resp := s.client.Put(t.Context(),
			Batch(WithSubject("app.a"), WithData(1), WithKey("k")),
			Batch(WithSubject("app.b"), WithRaw("text/plain", []byte("x"))),
			WithBatch(bus.Event{Subject: "app.c", Payload: json.RawMessage(`{}`)}))
		if err := resp.Error(); err != nil {
			t.Fatal(err)
		}
		events, err := bus.ParseEvents([]byte(s.seen()[0].body), 10)
		if err != nil || len(events) != 3 || events[0].Key != "k" || events[1].ContentType != "text/plain" || events[2].Subject != "app.c" {
			t.Errorf("got %+v, %v", events, err)
		}
		if len(resp.Receipts) != 2 || resp.Id != "e_1" || !resp.Receipts[1].Duplicate {
			t.Errorf("receipts: got %+v", resp)
		}
	})
}

func TestAMistakeIsReportedBeforeAnythingIsSent(t *testing.T) {
	c := NewClient("http://127.0.0.1:1")
	for name, c2 := range map[string]struct {
		opts []PutOption
		want error
	}{
		"no subject":           {[]PutOption{WithData(1)}, bus.ErrMissingSubject},
		"wildcard":             {[]PutOption{WithSubject("app.>")}, bus.ErrInvalidSubject},
		"quote in the subject": {[]PutOption{WithSubject(`app."x`)}, bus.ErrInvalidSubject},
		"quote in the id":      {[]PutOption{WithSubject("app.x"), WithId(`"`)}, bus.ErrInvalidID},
		"a header in capitals": {[]PutOption{WithSubject("app.x"), WithHeader("Source", "x")}, bus.ErrInvalidEvent},
		"an empty header":      {[]PutOption{WithSubject("app.x"), WithHeader("source", "")}, bus.ErrInvalidEvent},
		"a header twice":       {[]PutOption{WithSubject("app.x"), WithHeader("a", "1"), WithHeader("a", "2")}, bus.ErrInvalidParameter},
		"control in the trace": {[]PutOption{WithSubject("app.x"), WithTraceId("\n")}, bus.ErrInvalidEvent},
		"bad data":             {[]PutOption{WithSubject("app.x"), WithData([]byte("{"))}, bus.ErrInvalidJSON},
		"two subjects":         {[]PutOption{WithSubject("app.x"), WithSubject("app.y")}, bus.ErrInvalidParameter},
		"data and raw":         {[]PutOption{WithSubject("app.x"), WithData(1), WithRaw("a/b", nil)}, bus.ErrInvalidParameter},
		"raw and data":         {[]PutOption{WithSubject("app.x"), WithRaw("a/b", nil), WithData(1)}, bus.ErrInvalidParameter},
		"raw JSON":             {[]PutOption{WithSubject("app.x"), WithRaw("application/json; charset=utf-8", nil)}, bus.ErrInvalidParameter},
		"raw without type":     {[]PutOption{WithSubject("app.x"), WithRaw("", nil)}, bus.ErrInvalidParameter},
		"negative confirm":     {[]PutOption{WithSubject("app.x"), WithConfirm(-1)}, bus.ErrInvalidParameter},
		"no timeout":           {[]PutOption{WithSubject("app.x"), WithTimeout(0)}, bus.ErrInvalidParameter},
		"empty batch":          {[]PutOption{WithBatch()}, bus.ErrInvalidParameter},
		"subject beside batch": {[]PutOption{WithSubject("app.x"), Batch(WithSubject("app.y"))}, bus.ErrInvalidParameter},
		"batch in batch":       {[]PutOption{Batch(Batch(WithSubject("app.y")))}, bus.ErrInvalidParameter},
		"empty batch in batch": {[]PutOption{Batch(WithBatch())}, bus.ErrInvalidParameter},
		"confirm in batch":     {[]PutOption{Batch(WithSubject("app.y"), WithConfirm(1))}, bus.ErrInvalidParameter},
		"bad event in batch":   {[]PutOption{Batch(WithSubject("app.y")), Batch(WithSubject("app"))}, bus.ErrInvalidSubject},
		"bad JSON in batch":    {[]PutOption{WithBatch(bus.Event{Subject: "app.x", Payload: []byte("{")})}, bus.ErrInvalidJSON},
	} {
		resp := c.Put(t.Context(), c2.opts...)
		if err := resp.Error(); !errors.Is(err, c2.want) {
			t.Errorf("%s: got %v, want %v", name, err, c2.want)
		}
	}
}

func TestAMistakeIsReportedUnderTheNameOfItsOption(t *testing.T) {
	c := NewClient("http://127.0.0.1:1")
	raw, subject := WithRaw("image/png", []byte{0}), WithSubject("app.x")
	for want, opts := range map[string][]PutOption{
		"WithRaw stands twice":          {subject, raw, raw},
		"WithData stands twice":         {subject, WithData(1), WithData(2)},
		"WithData and WithRaw":          {subject, WithData(1), raw},
		"WithRaw and WithData":          {subject, raw, WithData(1)},
		"WithRaw stands beside a batch": {raw, Batch(subject)},
	} {
		if err := c.Put(t.Context(), opts...).Error(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestAURLThatCannotBeUsedIsTheErrorOfEveryCall(t *testing.T) {
	for _, raw := range []string{"", "localhost:2021", "ftp://x", "http://", "http://x/?a=b", "http://x/#f", "http://u:geheim@x/?a", "://geheim@x", "http://u:geheim@[::1"} {
		c := NewClient(raw)
		err := c.Put(t.Context(), WithSubject("app.x")).Error()
		if !errors.Is(err, bus.ErrInvalidParameter) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("put to %q: got %v", raw, err)
		}
		if got := c.Ack(t.Context(), "c_1", "e_1"); !errors.Is(got, bus.ErrInvalidParameter) {
			t.Errorf("ack to %q: got %v", raw, got)
		}
		n := 0
		for e, got := range c.Get(t.Context(), WithSubject("app.x")) {
			if n++; e != nil || !errors.Is(got, bus.ErrInvalidParameter) {
				t.Errorf("get from %q: got %v, %v", raw, e, got)
			}
		}
		if n != 1 {
			t.Errorf("get from %q: got %d errors, want 1", raw, n)
		}
	}
	for raw, want := range map[string]string{"http://x:1": "http://x:1/", "https://x/bus": "https://x/bus/", "http://x/a/": "http://x/a/"} {
		if got := NewClient(raw).base.String(); got != want {
			t.Errorf("%s: got %s, want %s", raw, got, want)
		}
	}
}

func TestARefusalIsATypedError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWire(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			switch n {
			case 1:
				problem(w, 404, "unknown_namespace", "no such namespace; declared are app")
			case 2:
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(504)
				fmt.Fprint(w, `{"code":"confirm_timeout","event_id":"e_9","index":9,"confirmed":1,"wanted":2}`)
			case 3:
				w.Header().Set("Content-Type", "text/html")
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(502)
				fmt.Fprint(w, "<html>")
			case 4:
				http.Error(w, "no\x1bsuch page", 404)
			case 5:
				fmt.Fprint(w, "<html>hello</html>")
			}
		})
		put := func() (*Response, *Error) {
			resp := s.client.Put(t.Context(), WithSubject("app.x"))
			e, ok := errors.AsType[*Error](resp.Error())
			if !ok {
				t.Fatalf("got %v, want an *Error", resp.Error())
			}
			return resp, e
		}
		if _, e := put(); !errors.Is(e, bus.ErrUnknownNamespace) || e.Status != 404 || e.Detail != "no such namespace; declared are app" {
			t.Errorf("problem: got %+v", e)
		}
		if resp, e := put(); !errors.Is(e, bus.ErrConfirmTimeout) || resp.Id != "e_9" || resp.Index != 9 || *e.Confirmed != 1 {
			t.Errorf("confirm: got %+v, %+v", resp, e)
		}
		if _, e := put(); e.Code != "http_502" || e.Status != 502 || e.RetryAfter != 7 {
			t.Errorf("proxy: got %+v", e)
		}
		if _, e := put(); e.Code != "http_404" || e.Detail != `"no\x1bsuch page"` {
			t.Errorf("text: got %+v", e)
		}
		if _, e := put(); e.Code != "unexpected_answer" {
			t.Errorf("other server: got %+v", e)
		}
	})
}

func TestAReplyIsAnyPayload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []string{`{"sum":3}`, `42`, `"ok"`, `null`, "\x00raw"}
		s := newWire(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-BUS-EVENT-ID", "e_3")
			w.Header().Set("X-BUS-EVENT-INDEX", "3")
			w.Header().Set("X-BUS-EVENT-CREATED-AT", "2026-01-31T12:00:00Z")
			w.Header().Set("Content-Type", "application/json")
			if n == len(answers) {
				w.Header().Set("Content-Type", "application/octet-stream")
			}
			fmt.Fprint(w, answers[n-1])
		})
		for i, want := range answers {
			resp := s.client.Put(t.Context(), WithSubject("app.sum"), WithData(1), WithRequestReply())
			if err := resp.Error(); err != nil || string(resp.Payload) != want || resp.Index != 3 || resp.CreatedAt.IsZero() {
				t.Errorf("got %+v, want %q", resp, want)
			}
			if got, want := resp.ContentType != "", i == len(answers)-1; got != want {
				t.Errorf("%s: content type %q", answers[i], resp.ContentType)
			}
		}
		if got, want := s.seen()[0].query, "reply=true"; got != want {
			t.Errorf("query: got %q, want %q", got, want)
		}
	})
}

func TestAnAnswerLongerThanAllowedIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWire(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, strings.Repeat("1", 2000))
		}, WithMaxEvent(1000))
		err := s.client.Put(t.Context(), WithSubject("app.sum"), WithRequestReply()).Error()
		if !errors.Is(err, bus.ErrTooLarge) || !strings.Contains(err.Error(), "WithMaxEvent") {
			t.Errorf("got %v, want too_large and what to do", err)
		}
	})
}
