package disk

import (
	"errors"
	"io"
	"testing"
	"time"

	"example.com/bus"
)

// A clock that goes back an hour, jumps ten years and returns, or stands still
// dates events, and does nothing else: indexes, order and ids know no time.
func TestAClockThatJumpsOrStandsStillChangesNeitherIndexesNorOrderNorIDs(t *testing.T) {
	dir, start := t.TempDir(), time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	clocks := []time.Duration{0, time.Second, -time.Hour, -time.Hour, -time.Hour, 87_600 * time.Hour, 2 * time.Second, 2 * time.Second, -87_600 * time.Hour, 3 * time.Second}
	var want []bus.Event
	ids := make(map[string]bool)
	for i, offset := range clocks {
		now := start.Add(offset)
		e := openTest(t, dir, Options{Now: func() time.Time { return now }}) // frozen
		for range 3 {
			batch := mustAppend(t, e, testEvent("orders.a", `1`), testEvent("orders.b", `2`))
			want = append(want, batch...)
		}
		for _, event := range want[6*i:] {
			if ids[event.Id] {
				t.Errorf("id %s was given twice", event.Id)
			}
			ids[event.Id] = true
			if d := event.CreatedAt.Sub(now); d < 0 && d < -clockSlack || d > clockSlack {
				t.Errorf("created_at is %s, the clock says %s", event.CreatedAt, now)
			}
		}
		if got, ok := e.Inspect("orders"), i > 0; ok && got.LastAt.Before(got.FirstAt) {
			t.Errorf("commits from %s to %s: their times never go back", got.FirstAt, got.LastAt)
		}
		checkOrder(t, e, want)
		mustClose(t, e)
	}
}

// checkOrder wants events at the indexes 1, 2, 3, and found by their ids.
func checkOrder(t *testing.T, e *Engine, want []bus.Event) {
	t.Helper()
	r := e.Reader("orders", 1)
	defer r.Close()
	n := 0
	for {
		events, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range events {
			if got.Index != uint64(n+1) || got.Id != want[n].Id || got.Subject != want[n].Subject || !got.CreatedAt.Equal(want[n].CreatedAt) {
				t.Fatalf("event %d: got %+v, want %+v", n+1, got, want[n])
			}
			n++
		}
	}
	if n != len(want) {
		t.Fatalf("got %d events, want %d", n, len(want))
	}
	checkFound(t, e, want)
}
