package server_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"example.com/bus/server/disk"
)

func (b *testBus) file(name string) []byte {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil {
		b.t.Fatal(err)
	}
	return data
}

// replace stops the server, does something to its files and starts it again.
func (b *testBus) between(change func()) {
	b.t.Helper()
	address := b.url[len("http://"):]
	b.stop()
	change()
	b.start(address)
}

func TestEventsThatTakeThePlaceOfLostOnesAreDelivered(t *testing.T) {
	b := openBus(t)
	b.publishSome(1)
	var older []byte
	b.between(func() { older = b.file("orders.log") })
	ids := b.publishSome(2)
	b.pull("&consumer=billing&start=oldest")
	b.want(202, "PUT", "/?consumer=billing&up_to=true&event_id="+ids[1], "")
	b.between(func() {
		if err := os.RemoveAll(filepath.Join(b.dir, "derived")); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(b.dir, "orders.log"), older, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	ids = b.publishSome(4) // two of them where acknowledged ones had been
	b.restart()            // before anything is acknowledged
	wantIDs(t, b.pull("&consumer=billing"), ids...)
}

func TestAConsumerOfAReplacedLogBeginsAnewOnce(t *testing.T) {
	b := openBus(t)
	b.pull("&consumer=billing&start=oldest")
	b.between(func() {
		if err := os.RemoveAll(filepath.Join(b.dir, "derived")); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"orders.log", "orders.idx"} {
			if err := os.Remove(filepath.Join(b.dir, name)); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
	})
	ids := b.publishSome(2)
	wantIDs(t, b.pull("&consumer=billing"), ids...)
	b.want(202, "PUT", "/?consumer=billing&up_to=true&event_id="+ids[1], "")
	b.restart()
	wantIDs(t, b.pull("&consumer=billing"))
}

func TestASmallLimitForEventsIsNoneForWhatIsAcknowledged(t *testing.T) {
	b := &testBus{t: t, dir: t.TempDir(), maxEvent: 1 << 10}
	b.begin()
	ids := b.publishSome(200)
	b.pull("&consumer=billing&start=oldest&inflight=200&redelivery=10m")
	b.want(202, "PUT", "/?consumer=billing&event_id="+ids[0], "")
	b.restart()
	b.want(202, "PUT", "/?consumer=billing&event_id="+ids[1], "")
}

func TestDamageOfWhatConsumersAreIsFoundAndRepairedAndDeliversAgainAtMost(t *testing.T) {
	b := openBus(t)
	ids := b.publishSome(6)
	wantIDs(t, b.pull("&consumer=billing&start=oldest&redelivery=10m"), ids...)
	for _, id := range ids[:3] {
		b.want(202, "PUT", "/?consumer=billing&event_id="+id, "")
	}
	b.between(func() {
		own, err := disk.DiscoverOwn(b.dir)
		if err != nil || !slices.Equal(own, []string{"_consumers_"}) {
			t.Fatalf("got %v and %v, want the log of consumers", own, err)
		}
		data := b.file("_consumers_.log")
		data[len(data)*2/3] ^= 1 // behind the making of it
		if err := os.WriteFile(filepath.Join(b.dir, "_consumers_.log"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := disk.Verify(b.dir, own[0], nil); err != nil || r.Good() {
			t.Fatalf("got %+v and %v, want damage to be found", r, err)
		}
		if r, err := disk.Repair(b.dir, own[0], disk.Options{}, true); err != nil || !r.Done {
			t.Fatalf("got %+v and %v, want it to be repaired", r, err)
		}
	})
	again := b.pull("&consumer=billing&redelivery=10m")
	for _, id := range ids[3:] {
		if !slices.Contains(again, id) {
			t.Errorf("got %v, want %s among them: it was never acknowledged", again, id)
		}
	}
	b.want(202, "PUT", "/?consumer=billing&up_to=true&event_id="+ids[5], "")
	b.restart()
	wantIDs(t, b.pull("&consumer=billing"))
}
