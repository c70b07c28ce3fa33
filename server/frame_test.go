package server

import (
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

// BenchmarkFrame is the text of one event: in frames that streams share, and in
// those that each builds for itself.
func BenchmarkFrame(b *testing.B) {
	e := &bus.Event{
		Id: bus.FormatID(bus.Position{Incarnation: 1, Index: 12345}), Subject: "orders.eu.created", Index: 12345, CreatedAt: time.Unix(1e9, 0).UTC(),
		Payload: []byte(`{"order":12345,"customer":"c-778","items":[{"sku":"A-1","n":2},{"sku":"B-7","n":1}],"total":119.90}`),
	}
	sse, ndjson, resume := sseShared("orders", 1), newNDJSONFormat().plain, []bus.Position{{Incarnation: 1, Index: 12000}}
	for _, c := range []struct {
		name  string
		frame func(dst []byte) []byte
	}{
		{"sse", func(dst []byte) []byte { return sse.Encode(dst, e) }},
		{"ndjson", func(dst []byte) []byte { return ndjson.Encode(dst, e) }},
		{"sse-own", func(dst []byte) []byte {
			return sseFormat{}.event(dst, resume, delivery.Delivery{Event: e, Attempt: 1, Namespace: "orders"})
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = c.frame(buf[:0])
			}
			b.SetBytes(int64(len(buf)))
		})
	}
}
