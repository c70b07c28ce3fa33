package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"example.com/bus"
)

const testIncarnation = 0x123456789

var testTime = time.Date(2026, 11, 1, 12, 0, 0, 123456789, time.UTC)

func mustRecord(t testing.TB, e bus.Event) []byte {
	t.Helper()
	data, err := appendRecord(nil, &e)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// drawEvent makes any event that may be stored.
func drawEvent(t *rapid.T) bus.Event {
	optional := func(pattern, name string) string {
		return rapid.OneOf(rapid.Just(""), rapid.StringMatching(pattern)).Draw(t, name)
	}
	e := bus.Event{
		Subject:         rapid.StringMatching(`orders(\.[A-Za-z0-9_-]{1,20}){1,8}`).Draw(t, "subject"),
		Id:              optional(`[a-d][A-Za-z0-9_.-]{0,63}`, "id"),
		TraceId:         optional(`[ -~]{1,256}`, "trace"),
		Key:             optional(`[ -~äöü]{1,128}`, "key"),
		ResponseSubject: optional(`_bus_\.[a-z]{1,64}`, "response"),
		ContentType:     optional(`[a-z]{1,128}/[a-z]{1,127}`, "type"),
		Payload:         rapid.SliceOfN(rapid.Byte(), 1, 2000).Draw(t, "payload"),
	}
	e.Headers = rapid.MapOfN(rapid.StringMatching(`[a-z0-9_.-]{1,64}`), rapid.StringMatching(`[ -~é]{1,60}`), 0, 12).Draw(t, "headers")
	if len(e.Headers) == 0 {
		e.Headers = nil
	}
	moment := func(name string) time.Time {
		return time.Unix(0, rapid.Int64Range(-8e18, 7e18).Draw(t, name)).UTC()
	}
	if rapid.Bool().Draw(t, "chosen time") {
		e.CreatedAt = moment("created")
	}
	if has := rapid.IntRange(0, 7).Draw(t, "timing"); has > 0 {
		e.Timing = &bus.Timing{}
		if has&timingDeliverAt != 0 {
			e.Timing.DeliverAt = moment("deliver at")
		}
		if has&timingExpiresAt != 0 {
			e.Timing.ExpiresAt = moment("expires at")
		}
		if has&timingPublished != 0 {
			e.Timing.Published = rapid.Uint64Range(1, bus.MaxIndex).Draw(t, "published")
		}
	}
	return e
}

func TestEveryEventComesBackAsItWasStored(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []bus.Event
		var records [][]byte
		first := rapid.Uint64Range(1, bus.MaxIndex-100).Draw(t, "first")
		for i := range rapid.IntRange(1, 8).Draw(t, "events") {
			e := drawEvent(t)
			data, err := appendRecord(nil, &e)
			if err != nil {
				t.Fatal(err)
			}
			if len(data) > recordSize(&e) || len(data) > maxRecord+len(e.Payload) {
				t.Fatalf("got %d bytes, wanted at most %d", len(data), recordSize(&e))
			}
			records = append(records, data)
			e.Index = first + uint64(i)
			if e.Id == "" {
				e.Id = bus.FormatID(bus.Position{Incarnation: testIncarnation, Index: e.Index})
			}
			if e.CreatedAt.IsZero() {
				e.CreatedAt = testTime
			}
			want = append(want, e)
		}
		d := decoder{incarnation: testIncarnation}
		got, err := d.events(first, testTime, records)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
	})
}

func TestTextsOfTheGreatestLengthFit(t *testing.T) {
	long := strings.Repeat("x", bus.MaxTextLen)
	want := bus.Event{
		Subject: "orders" + strings.Repeat("."+strings.Repeat("a", 40), 6) + ".12", Id: strings.Repeat("i", bus.MaxIDLen),
		TraceId: long, Key: long, ContentType: long, ResponseSubject: "_bus_.x", CreatedAt: testTime,
		Headers: map[string]string{},
		Timing:  &bus.Timing{DeliverAt: testTime, ExpiresAt: testTime, Published: bus.MaxIndex},
	}
	for i := range bus.MaxHeaders {
		name := fmt.Sprintf("%0*d", bus.MaxHeaderName, i)
		want.Headers[name] = strings.Repeat("v", bus.MaxHeaderBytes/bus.MaxHeaders-len(name))
	}
	d := decoder{}
	got, err := d.events(1, time.Time{}, [][]byte{mustRecord(t, want)})
	want.Index = 1
	if err != nil || !reflect.DeepEqual(got, []bus.Event{want}) {
		t.Fatalf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestWhatCouldNotBeReadAgainIsNotStored(t *testing.T) {
	for name, e := range map[string]bus.Event{
		"no subject":    {},
		"wildcard":      {Subject: "orders.*"},
		"line feed":     {Subject: "orders.created", Id: "a\nb"},
		"long trace":    {Subject: "orders.created", TraceId: strings.Repeat("x", bus.MaxTextLen+1)},
		"no timing":     {Subject: "orders.created", Timing: &bus.Timing{}},
		"a delay":       {Subject: "orders.created", Timing: &bus.Timing{Delay: time.Second}},
		"the year 3000": {Subject: "orders.created", Timing: &bus.Timing{DeliverAt: time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)}},
		"the year 900":  {Subject: "orders.created", CreatedAt: time.Date(900, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if got, err := appendRecord(nil, &e); err == nil || len(got) > 0 {
			t.Errorf("%s: got %x, %v, wanted a refusal", name, got, err)
		}
	}
}

func TestARecordThatIsNotExactlyRightIsRefused(t *testing.T) {
	good := mustRecord(t, bus.Event{Subject: "orders.created", Id: "chosen", Payload: []byte("{}")})
	change := func(at int, to byte) []byte {
		data := bytes.Clone(good)
		data[at] = to
		return data
	}
	headered := func(headers string) []byte {
		return append([]byte{recordVersion, flagHeaders, 2}, "a.b"+headers...)
	}
	timed := func(timing ...byte) []byte {
		return append([]byte{recordVersion, flagTiming, 2, 'a', '.', 'b'}, timing...)
	}
	for name, data := range map[string][]byte{
		"empty":                  {},
		"another version":        change(0, 2),
		"no timing":              timed(),
		"a timing of nothing":    timed(0),
		"a reserved timing":      timed(8, 0, 0, 0, 0, 0, 0, 0, 0),
		"a timing cut":           timed(3, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		"published at 0":         timed(4, 0, 0, 0, 0, 0, 0, 0, 0),
		"published nowhere":      timed(4, 255, 255, 255, 255, 255, 255, 255, 255),
		"expires in 2262":        timed(2, 255, 255, 255, 255, 255, 255, 255, 127),
		"headers it has not":     change(1, flagID|flagHeaders),
		"no header":              headered("\x00"),
		"a header cut":           headered("\x00\x00\x00"),
		"a header too long":      headered("\x00\x00\x01\x00ab"),
		"a header twice":         headered("\x01\x00\x00\x00ab\x00\x00\x00ab"),
		"headers out of order":   headered("\x01\x00\x00\x00bb\x00\x00\x00ab"),
		"a header's name":        headered("\x00\x00\x00\x00Ab"),
		"a header's value":       headered("\x00\x00\x00\x00a\n"),
		"subject too long":       change(2, 255),
		"subject with a control": change(4, '\n'),
		"cut in the lengths":     good[:3],
		"cut in the texts":       good[:10],
		"created_at cut":         {recordVersion, flagCreatedAt, 0, 1, 2, 3},
		"created_at in 2262":     append([]byte{recordVersion, flagCreatedAt, 2, 255, 255, 255, 255, 255, 255, 255, 127}, "a.b"...),
	} {
		d := decoder{}
		if got, err := d.events(1, testTime, [][]byte{data}); err == nil || len(got) != 0 {
			t.Errorf("%s: got %+v, %v, wanted an error", name, got, err)
		}
	}
}

func TestEventsBeforeABadRecordAreReturned(t *testing.T) {
	good := mustRecord(t, bus.Event{Subject: "orders.created"})
	d := decoder{}
	got, err := d.events(5, testTime, [][]byte{good, good, {9}, good})
	if err == nil || len(got) != 2 || got[1].Index != 6 {
		t.Fatalf("got %+v, %v, want two events and an error", got, err)
	}
}

func TestAppendingToAPayloadLeavesTheNextEventAlone(t *testing.T) {
	a := mustRecord(t, bus.Event{Subject: "orders.created", Payload: []byte("1")})
	both := append(bytes.Clone(a), a...)
	d := decoder{}
	got, err := d.events(1, testTime, [][]byte{both[:len(a)], both[len(a):]})
	if err != nil {
		t.Fatal(err)
	}
	_ = append(got[0].Payload, "overwritten"...)
	if want := append(bytes.Clone(a), a...); !bytes.Equal(both, want) {
		t.Errorf("got %x, want %x", both, want)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(mustRecord(f, bus.Event{Subject: "orders.created", Payload: []byte("{}")}))
	f.Add(mustRecord(f, bus.Event{Subject: "orders.created", Id: "a", TraceId: "b", Key: "c", ResponseSubject: "_bus_.d", ContentType: "e/f", CreatedAt: testTime}))
	f.Add(mustRecord(f, bus.Event{Subject: "orders.created", Headers: map[string]string{"a": "b", "traceparent": "c"}, Payload: []byte("1")}))
	f.Add(binary.LittleEndian.AppendUint64([]byte{recordVersion, flagCreatedAt, 2}, 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := decoder{}
		events, err := d.events(1, testTime, [][]byte{data})
		if err != nil {
			return
		}
		// Whatever is accepted has one spelling: encoded again it is the same.
		e := events[0]
		if data[1]&flagID == 0 {
			e.Id = ""
		}
		if data[1]&flagCreatedAt == 0 {
			e.CreatedAt = time.Time{}
		}
		if again, err := appendRecord(nil, &e); err != nil || !bytes.Equal(again, data) {
			t.Errorf("got %x, %v, want %x", again, err, data)
		}
	})
}

func TestADecodingErrorIsNotAUsersMistake(t *testing.T) {
	d := decoder{}
	_, err := d.events(1, testTime, [][]byte{append([]byte{recordVersion, 0, 2}, "a.*"...)})
	if err == nil {
		t.Fatal("got no error for a wildcard")
	}
	if _, is := errors.AsType[*bus.Error](err); is {
		t.Errorf("got %v, wanted an error that does not answer 4xx", err)
	}
}

func BenchmarkDecode(b *testing.B) {
	const perBlock = 30
	var records [][]byte
	for range perBlock {
		records = append(records, mustRecord(b, bus.Event{Subject: "orders.eu.created", TraceId: "4bf92f3577b34da6", Payload: bytes.Repeat([]byte("x"), 100)}))
	}
	d := decoder{incarnation: testIncarnation}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.events(1_000_000, testTime, records); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*perBlock)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*perBlock), "ns/event")
}

func BenchmarkEncode(b *testing.B) {
	e, record := benchEvent(), []byte(nil)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if record, err = appendRecord(record[:0], &e); err != nil {
			b.Fatal(err)
		}
	}
}

func testEvent(subject, payload string) bus.Event {
	return bus.Event{Subject: subject, Payload: []byte(payload)}
}
