package bus

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

var timingNow = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

func TestWhatAPublisherSaysOfTimeBecomesMoments(t *testing.T) {
	for text, want := range map[string]Timing{
		`"delay":"90s"`:                         {DeliverAt: timingNow.Add(90 * time.Second)},
		`"delay":"7d"`:                          {DeliverAt: timingNow.Add(7 * 24 * time.Hour)},
		`"ttl":"1m"`:                            {ExpiresAt: timingNow.Add(time.Minute)},
		`"delay":"1h","ttl":"1m"`:               {DeliverAt: timingNow.Add(time.Hour), ExpiresAt: timingNow.Add(61 * time.Minute)},
		`"deliver_at":"2026-01-31T13:00:00Z"`:   {DeliverAt: timingNow.Add(time.Hour)},
		`"expires_at":"2026-01-31T12:00:01Z"`:   {ExpiresAt: timingNow.Add(time.Second)},
		`"deliver_at":"2026-01-31T11:00:00Z"`:   {}, // due already
		`"delay":"","ttl":"0s","expires_at":""`: {},
		`"delay":"0s","deliver_at":null`:        {},
	} {
		e, err := ParseEvent([]byte(`{"subject":"orders.created",` + text + `}`))
		if err == nil {
			err = e.SettleTiming(timingNow)
		}
		got := Timing{}
		if e.Timing != nil {
			got = *e.Timing
		}
		if err != nil || got != want || (e.Timing == nil) != (want == Timing{}) {
			t.Errorf("%s: got %+v, %v, want %+v", text, e.Timing, err, want)
		}
	}
}

func TestATimingThatCannotBeMeantIsRefused(t *testing.T) {
	for _, text := range []string{
		`"delay":"-1s"`, `"delay":"soon"`, `"delay":"367d"`, `"ttl":"-1s"`, `"ttl":"40000d"`,
		`"delay":"1s","deliver_at":"2026-01-31T13:00:00Z"`, `"ttl":"1s","expires_at":"2026-01-31T13:00:00Z"`,
		`"deliver_at":"tomorrow"`, `"deliver_at":"2028-01-31T13:00:00Z"`, `"expires_at":"3000-01-31T13:00:00Z"`,
		`"deliver_at":"2026-01-31T13:00:00Z","expires_at":"2026-01-31T13:00:00Z"`, `"ttl":"1s","ttl":"1s"`,
	} {
		e, err := ParseEvent([]byte(`{"subject":"orders.created",` + text + `}`))
		if err == nil {
			err = e.SettleTiming(timingNow)
		}
		if code := codeOf(err); code != ErrInvalidEvent.Code {
			t.Errorf("%s: got %v, want %s", text, err, ErrInvalidEvent.Code)
		}
	}
}

func codeOf(err error) string {
	if e, ok := AsError(err); ok {
		return e.Code
	}
	return ""
}

func TestAnEventThatWasPutOffShowsTheIndexItsPublisherWasTold(t *testing.T) {
	at := timingNow.Add(time.Hour)
	e := Event{Id: "e_1", Subject: "orders.created", Index: 9, CreatedAt: timingNow, Timing: &Timing{DeliverAt: at, Published: 4}}
	got, _, err := ParseDelivery(e.AppendJSON(nil))
	if err != nil || !reflect.DeepEqual(got, e) {
		t.Errorf("got %+v with %+v, %v, want %+v with %+v", got, got.Timing, err, e, e.Timing)
	}
	if text := string(e.AppendJSON(nil)); !strings.Contains(text, `"index":4,"delivered_index":9,`) {
		t.Errorf("got %s, want index 4, delivered at 9", text)
	}
	back, err := ParseEvent(e.AppendJSON(nil))
	if err != nil || back.Index != 0 || back.Timing.Published != 0 {
		t.Errorf("published as it came: got %+v with %+v, %v, want no index of it", back, back.Timing, err)
	}
	if e.Waits() {
		t.Error("an event where it came due waits")
	}
	if e.Timing.Published = 0; !e.Waits() {
		t.Error("an event where it was published does not wait")
	}
}

func TestAnEventExpiresAtItsMomentAndNotBefore(t *testing.T) {
	e := Event{Timing: &Timing{ExpiresAt: timingNow}}
	if e.Expired(timingNow.Add(-1)) || !e.Expired(timingNow) {
		t.Errorf("expired before: %t, at: %t, want false, true", e.Expired(timingNow.Add(-1)), e.Expired(timingNow))
	}
}
