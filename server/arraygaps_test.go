package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/bus"
)

// The gaps of a pull are in a header, and no peer takes one of 100 KB: the pull
// would be refused for ever, and with it all that lies behind.
func TestAPullOverManyGapsGoesOnInPortionsThatAHeaderHolds(t *testing.T) {
	const events = 80
	b := openBus(t)
	for i := range events {
		b.publish(fmt.Sprintf(`{"subject":"orders.1","payload":"event-%03d"}`, i))
	}
	address := strings.TrimPrefix(b.url, "http://")
	b.stop()
	path := filepath.Join(b.dir, "orders.log")
	log, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < events; i += 2 {
		log[bytes.Index(log, fmt.Appendf(nil, "event-%03d", i))] ^= 1
	}
	if err := os.WriteFile(path, log, 0o600); err != nil {
		t.Fatal(err)
	}
	b.start(address)
	var got []uint64
	gaps, resume := 0, ""
	for pull := 1; ; pull++ {
		a := b.do("GET", "/?subject=orders.*&start=oldest&until=newest", "", "Accept: application/json", "Last-Event-ID: "+resume)
		var said []json.RawMessage
		header := a.header.Get("X-BUS-GAP")
		if json.Unmarshal([]byte(header), &said); len(said) > 16 || len(header) > 4<<10 || pull > events {
			t.Fatalf("pull %d: got %d gaps in %d bytes, want at most 16", pull, len(said), len(header))
		}
		var array []bus.Event
		if err := json.Unmarshal([]byte(a.body), &array); err != nil {
			t.Fatal(err)
		}
		for i := range array {
			got = append(got, array[i].Index)
		}
		gaps, resume = gaps+len(said), a.header.Get("X-BUS-RESUME")
		if a.header.Get("X-BUS-MORE") != "true" {
			break
		}
	}
	var want []uint64
	for i := uint64(1); i <= events; i += 2 {
		want = append(want, i)
	}
	if !slices.Equal(got, want) || gaps != events/2 {
		t.Errorf("got the events %v and %d gaps, want every other event once and %d gaps", got, gaps, events/2)
	}
}
