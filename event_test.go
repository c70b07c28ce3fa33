package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestAnEventComesBackAsItWasSent(t *testing.T) {
	want := Event{
		Id: "e_00000001", Subject: "orders.eu.created", Index: 1, TraceId: "tr\"ace\\é", Key: "k 1", Headers: map[string]string{"traceparent": "00-…", "a": "\"b\""},
		CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC), ResponseSubject: "_bus_.x", Payload: []byte(`{"a":[1,2.50,"x y"]}`),
	}
	got, err := ParseEvent(want.AppendJSON(nil))
	want.Index = 0 // only the bus gives it
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v\nwant %+v", got, err, want)
	}
}

func TestAnEventIsMarshalledInItsWireForm(t *testing.T) {
	want := Event{Id: "x", Subject: "a.b", Index: 3, TraceId: "t", Key: "k", CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Payload: []byte(`[1]`)}
	for name, value := range map[string]any{"value": want, "pointer": &want, "in a slice": []Event{want}} {
		text, err := json.Marshal(value)
		if err != nil || !strings.Contains(string(text), `"trace_id":"t"`) {
			t.Errorf("%s: got %s, %v, want the wire form", name, text, err)
		}
	}
	text, _ := json.Marshal(want)
	var got Event
	if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestBytesComeBackAsBytes(t *testing.T) {
	want := Event{Subject: "files.put", ContentType: "image/png", Payload: []byte{0, 1, 2, 255, '\n'}}
	got, err := ParseEvent(want.AppendJSON(nil))
	if err != nil || !bytes.Equal(got.Payload, want.Payload) || got.ContentType != want.ContentType {
		t.Fatalf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestMistakesInAnEventAreNamed(t *testing.T) {
	for body, want := range map[string]*Error{
		``:                                   ErrInvalidJSON,
		`{`:                                  ErrInvalidJSON,
		`[]`:                                 ErrInvalidJSON,
		`{"subject":"a.b"} x`:                ErrInvalidJSON,
		"\xef\xbb\xbf" + `{"subject":"a.b"}`: ErrInvalidJSON,
		`{"subject":"a.b","payload":01}`:     ErrInvalidJSON,
		`{"subject":"a.b","payload":"` + "\xff" + `"}`:                        ErrInvalidJSON,
		`{"subject":"a.b","payload":"` + "\n" + `"}`:                          ErrInvalidJSON,
		`{"subject":"a.b","trace_id":"\ud800"}`:                               ErrInvalidJSON,
		`{"subject":"a.b","payload":` + strings.Repeat("[", 100_000):          ErrInvalidJSON,
		`{"subject":"a.b","paylaod":1}`:                                       ErrUnknownField,
		`{"subject":"a.b","Payload":1}`:                                       ErrUnknownField,
		`{"subject":"a.b","payload":1,"payload":2}`:                           ErrInvalidEvent,
		`{"subject":"a.b","created_at":"yesterday"}`:                          ErrInvalidEvent,
		`{"subject":"a.b","created_at":"9999-01-01T00:00:00Z"}`:               ErrInvalidEvent,
		`{"subject":"a.b","content_type":"x/y","payload":1}`:                  ErrInvalidEvent,
		`{"subject":"a.b","payload_base64":"AA=="}`:                           ErrInvalidEvent,
		`{"subject":"a.b","trace_id":"a\nb"}`:                                 ErrInvalidEvent,
		`{"subject":"a.b","key":"` + strings.Repeat("k", MaxTextLen+1) + `"}`: ErrInvalidEvent,
		`{"subject":"a.b","id":"a b"}`:                                        ErrInvalidID,
		`{"subject":"a.b","id":"a\nid: x"}`:                                   ErrInvalidID,
		`{"payload":1}`:                                                       ErrMissingSubject,
		`{"subject":"a.*"}`:                                                   ErrInvalidSubject,
		`{"subject":"a.b","response_subject":"x"}`:                            ErrInvalidSubject,
	} {
		if _, err := ParseEvent([]byte(body)); !errors.Is(err, want) {
			t.Errorf("ParseEvent(%.60q): got %v, want %s", body, err, want.Code)
		}
	}
}

func TestEmptyMeansAbsent(t *testing.T) {
	got, err := ParseEvent([]byte(`{"id":"","subject":"a.b","trace_id":null,"created_at":"0001-01-01T00:00:00Z","payload":null,"key":""}`))
	if err != nil || got.Id != "" || !got.CreatedAt.IsZero() || got.Payload != nil {
		t.Fatalf("got %+v, %v, want only the subject", got, err)
	}
	if text := string(got.AppendJSON(nil)); !strings.Contains(text, `"payload":null`) {
		t.Errorf("got %s, want a null payload", text)
	}
}

func TestAPayloadStandsOnOneLineAndKeepsItsDigits(t *testing.T) {
	got, err := ParseEvent([]byte("{\"subject\":\"a.b\",\"payload\":{\r\n \"n\": 1.500e400,\n \"s\":\"x\\ny z\"}}"))
	if want := `{"n":1.500e400,"s":"x\ny z"}`; err != nil || string(got.Payload) != want {
		t.Errorf("got %s, %v, want %s", got.Payload, err, want)
	}
}

func TestABatchNamesTheItemThatIsWrong(t *testing.T) {
	_, err := ParseEvents([]byte(`[{"subject":"a.b"},{"subject":"a.*"}]`), 10)
	if e, ok := AsError(err); !ok || e.Line != 2 || e.Code != ErrInvalidSubject.Code {
		t.Errorf("got %v, want invalid_subject in item 2", err)
	}
	if _, err := ParseEvents([]byte(`[{"subject":"a.b"},{"subject":"a.b"}]`), 1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want too_large", err)
	}
	if got, err := ParseEvents([]byte(` [ ] `), 1); err != nil || len(got) != 0 {
		t.Errorf("got %v, %v, want an empty batch", got, err)
	}
}

func TestADeliveryKeepsIndexAndAttemptAndPassesOverWhatIsNew(t *testing.T) {
	want := Event{Id: "e_00000001", Subject: "a.b", Index: 7, CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Payload: []byte(`{"x":1}`)}
	line := bytes.Replace(want.AppendDelivery(nil, 3), []byte(`{"id"`), []byte(`{"new":{"a":[1]},"id"`), 1)
	got, attempt, err := ParseDelivery(line)
	if err != nil || attempt != 3 || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, attempt %d, %v, want %+v, attempt 3", got, attempt, err, want)
	}
	if _, attempt, _ := ParseDelivery(want.AppendJSON(nil)); attempt != 1 {
		t.Errorf("got attempt %d without one, want 1", attempt)
	}
	for _, bad := range []string{`{}`, `{"id":"x"}`, `{"id":"x","subject":"a.b"`, `[]`, ``} {
		if _, _, err := ParseDelivery([]byte(bad)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func FuzzOurJSONIsTheirJSON(f *testing.F) {
	for _, seed := range []string{`{"a":[1,-0.5e+7,"\u00e9\"",true,false,null]}`, `[]`, ` "x" `, "\"\xff\"", `01`, `{"a":1,}`, `-`, "\"\t\"", `"\ud83d\ude00"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := CompactJSON(data)
		valid := json.Valid(data)
		if err == nil && !valid {
			t.Fatalf("%q: accepted, encoding/json refuses", data)
		}
		if err != nil {
			if e, _ := AsError(err); valid && !strings.Contains(e.Detail, "UTF-8") && !strings.Contains(e.Detail, "nesting") {
				t.Fatalf("%q: refused (%v), encoding/json accepts", data, err)
			}
			return
		}
		if bytes.ContainsAny(got, "\r\n") {
			t.Fatalf("%q: %q has a line break", data, got)
		}
		var a, b any
		if json.Unmarshal(data, &a) == nil && (json.Unmarshal(got, &b) != nil || !reflect.DeepEqual(a, b)) {
			t.Fatalf("%q became %q", data, got)
		}
	})
}

func FuzzAnAcceptedEventIsOneLineAndRoundTrips(f *testing.F) {
	f.Add([]byte(`{"subject":"a.b","payload":{"x":"\n"},"trace_id":"t","key":"k"}`))
	f.Add([]byte(`{"subject":"a.b","payload_base64":"AAEC","content_type":"x/y"}`))
	f.Add([]byte(`{"subject":"a.b","headers":{"b":"\u00e9","a":"\"","n":null,"e":""}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseEvent(data)
		if err != nil {
			return
		}
		line := e.AppendJSON(nil)
		if bytes.ContainsAny(line, "\r\n\x00") || !json.Valid(line) {
			t.Fatalf("%q became %q", data, line)
		}
		again, err := ParseEvent(line)
		if err != nil || !reflect.DeepEqual(again.AppendJSON(nil), line) {
			t.Fatalf("%q became %q and then %+v, %v", data, line, again, err)
		}
	})
}

var benchmarkBody = []byte(`{"subject":"orders.eu.created","trace_id":"4bf92f3577b34da6","payload":{"order":"` + strings.Repeat("x", 200) + `","total":12.50}}`)

func BenchmarkParseEvent(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseEvent(benchmarkBody); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	e, err := ParseEvent(benchmarkBody)
	if err != nil {
		b.Fatal(err)
	}
	e.Id, e.Index, e.CreatedAt = "e_Xy3abc1Z", 12345, time.Now()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = e.AppendJSON(buf[:0])
	}
}

// BenchmarkParseEvents is the body of a batch, told by the event.
func BenchmarkParseEvents(b *testing.B) {
	const batch = 100
	body := "[" + strings.Repeat(string(benchmarkBody)+",", batch-1) + string(benchmarkBody) + "]"
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseEvents([]byte(body), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/event")
}

// BenchmarkCompactJSON is a payload that comes as the whole body.
func BenchmarkCompactJSON(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := CompactJSON(benchmarkBody); err != nil {
			b.Fatal(err)
		}
	}
}
