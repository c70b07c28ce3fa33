package server

import (
	"encoding/json"
	"testing"
	"time"
)

// written is a receipt as encoding/json has it.
type written struct {
	ID        string    `json:"id"`
	Index     uint64    `json:"index,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	DeliverAt time.Time `json:"deliver_at,omitzero"`
	Duplicate bool      `json:"duplicate,omitempty"`
	Confirmed int       `json:"confirmed,omitempty"`
	Receivers *int      `json:"receivers,omitempty"`
}

func TestAReceiptIsWrittenAsItsJSON(t *testing.T) {
	none, some := 0, 12
	at := time.Date(2026, 11, 22, 1, 2, 3, 40, time.UTC)
	for _, c := range []receipt{
		{ID: "a", CreatedAt: at},
		{ID: "A-z_0.9", Index: 1<<62 - 1, CreatedAt: at.Truncate(time.Second)},
		{ID: "a", Index: 1, CreatedAt: at.In(time.FixedZone("east", 3600)), Duplicate: true, Confirmed: 1000},
		{ID: "a", CreatedAt: time.Date(1700, 1, 1, 0, 0, 0, 0, time.UTC), Receivers: &none},
		{ID: "a", CreatedAt: at, Receivers: &some},
		{ID: "a", Index: 2, CreatedAt: at, DeliverAt: at.Add(time.Hour), Duplicate: true},
	} {
		want, err := json.Marshal(written(c))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.appendJSON(nil); string(got) != string(want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
