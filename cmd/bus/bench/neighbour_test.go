package bench

import (
	"bufio"
	"strings"
	"testing"
)

func counting() *subscriber { return &subscriber{done: make(chan error, 1)} }

func TestARedisAnswerIsReadEntryByEntry(t *testing.T) {
	one := func(id string) string {
		return "*2\r\n$" + digits(len(id)) + "\r\n" + id + "\r\n*2\r\n$1\r\nd\r\n$5\r\na\r\nbc\r\n"
	}
	head := "*1\r\n*2\r\n$5\r\nbench\r\n*2\r\n"
	for _, c := range []struct {
		name, text string
		want       uint64 // 0: an error
	}{
		{"two entries", head + one("1700000000000-0") + one("1700000000000-1"), 1700000000000<<20 | 1},
		{"a later millisecond", head + one("7-5") + one("8-0"), 8 << 20},
		{"doubled", head + one("7-5") + one("7-5"), 0},
		{"swapped", head + one("8-0") + one("7-5"), 0},
		{"an error", "-ERR no\r\n", 0},
		{"no id", head + one("x"), 0},
		{"nothing", "*-1\r\n", 0},
		{"cut", head + one("7-5"), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := entries(bufio.NewReader(strings.NewReader(c.text)), counting())
			if c.want == 0 && err == nil || c.want != 0 && (err != nil || got != c.want) {
				t.Errorf("got %d %v, want %d", got, err, c.want)
			}
		})
	}
}

func TestAMessageOfNATSTellsItsPlaceInTheStream(t *testing.T) {
	for _, c := range []struct {
		line string
		want uint64 // 0: an error
		size int
	}{
		{"MSG bench.created 2 $JS.ACK.bench.abc.1.4711.9.1700000000.3 256", 4711, 256},
		{"MSG bench.created 2 256", 0, 256},
		{"MSG bench.created 2 $JS.ACK.bench 256", 0, 256},
		{"MSG bench.created 2 $JS.ACK.bench.abc.1.x.9.1700000000.3 12", 0, 12},
	} {
		reply, size, err := natsHead([]byte(c.line))
		if err != nil || size != c.size {
			t.Errorf("%s: got %d %v, want %d", c.line, size, err, c.size)
		}
		got, err := natsSequence(reply)
		if c.want == 0 && err == nil || c.want != 0 && (err != nil || got != c.want) {
			t.Errorf("%s: got %d %v, want %d", c.line, got, err, c.want)
		}
	}
	for _, line := range []string{"MSG x 1 y", "MSG x 1 -5", "MSG x 1 99999999999", "MSG x 1 "} {
		if _, size, err := natsHead([]byte(line)); err == nil {
			t.Errorf("%q: got size %d, want an error", line, size)
		}
	}
}

func TestAReceiptOfNATSIsNoErrorAndNoDuplicate(t *testing.T) {
	if got, err := natsReceipt([]byte(`{"stream":"bench", "seq":42}`)); err != nil || got != 42 {
		t.Errorf("got %d %v, want 42", got, err)
	}
	for _, body := range []string{`{"error":{"code":503},"seq":0}`, `{"stream":"bench","seq":1,"duplicate":true}`, ``} {
		if got, err := natsReceipt([]byte(body)); err == nil {
			t.Errorf("%s: got %d, want an error", body, got)
		}
	}
}

func TestANeighbourThatIsNotThereIsSaidBeforeAnythingRuns(t *testing.T) {
	_, err := Run(t.Context(), Config{Only: []string{"publish-1"}, Compare: []Neighbour{{Kind: "redis", Program: "/nowhere/redis-server"}}})
	if err == nil || !strings.Contains(err.Error(), "/nowhere/redis-server") || !strings.Contains(err.Error(), "--compare redis=PATH") {
		t.Errorf("got %v, want what is missing and what to do", err)
	}
}

func TestPayloadsHaveTheSizeTheyAreToHave(t *testing.T) {
	for _, size := range []int{16, 64, 256, 4096} {
		for _, n := range []int{0, 7, 123456} {
			if got := len(payload(n, size)); got != size {
				t.Errorf("number %d: got %d bytes, want %d: %s", n, got, size, payload(n, size))
			}
		}
	}
}
