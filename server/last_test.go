package server_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.com/bus"
)

// prices publishes to some subjects in turns, so that most events are superseded.
func (b *testBus) prices(subjects, rounds int) {
	b.t.Helper()
	for i := range subjects * rounds {
		b.publish(fmt.Sprintf(`{"subject":"orders.price.s%d","payload":%d}`, i%subjects, i))
	}
}

// listed returns the indexes in an array, or in lines.
func listed(body string) (indexes []string) {
	for _, line := range lines(body) {
		line = strings.TrimSuffix(line, ",")
		if index := (answer{body: line}).field("index"); index != "" {
			indexes = append(indexes, index)
		}
	}
	return indexes
}

func TestStartLastGivesTheNewestOfEachSubjectInOrderAndGoesOnLive(t *testing.T) {
	for _, ack := range []string{"", "&ack=manual"} {
		b := openBus(t)
		b.prices(5, 4)
		b.publish(`{"subject":"orders.price.s1","payload":20}`)
		s := b.open("subject=orders.price.*&start=last" + ack)
		for _, want := range []string{"16", "18", "19", "20", "21"} {
			f := s.next("msg")
			if got := f.field("index"); got != want {
				t.Fatalf("%s: got index %s, want %s", ack, got, want)
			}
			if ack != "" {
				b.ack(s, f, "")
			}
		}
		b.publish(`{"subject":"orders.price.s1","payload":21}`)
		if got := s.next("msg").field("index"); got != "22" {
			t.Errorf("%s: got index %s, want 22", ack, got)
		}
	}
}

func TestStartLastGoesWithEveryFormatSeveralPatternsAndNamespaces(t *testing.T) {
	b := openBus(t)
	b.prices(3, 2)
	b.publish(`[{"subject":"app.a"},{"subject":"app.b"},{"subject":"app.a"}]`)
	for path, want := range map[string]string{
		"/?subject=orders.>&start=last&until=newest":                                              "[4 5 6]",
		"/?subject=orders.price.s1&start=last&until=newest":                                       "[5]",
		"/?subject=orders.price.s1&subject=orders.price.s0&start=last&until=newest":               "[4 5]",
		"/?subject=orders.price.s1&subject=orders.price.*&start=last&until=newest":                "[4 5 6]",
		"/?subject=orders.none&start=last&until=newest":                                           "[]",
		"/?subject=orders.>&start=last&limit=2":                                                   "[4 5]",
		"/?subject=app.>&subject=orders.price.s2&start=last&until=newest&limit=100":               "[2 3 6]",
		"/?subject=app.>&start=last&wait=50ms":                                                    "[2 3]",
		"/?subject=orders.>&start=last&until=newest&last_event_id=" + b.published("orders", 2).Id: "[3 4 5 6]",
		"/?subject=orders.>&subject=_bus_.x&start=last&limit=3":                                   "[4 5 6]",
	} {
		array := b.do("GET", path, "", "Accept: application/json")
		got := listed(array.body)
		stream := listed(b.do("GET", path, "", "Accept: application/x-ndjson").body)
		slices.Sort(got)
		slices.Sort(stream)
		if fmt.Sprint(got) != want || fmt.Sprint(stream) != want {
			t.Errorf("%s: got array %v and stream %v of %s, want %s", path, got, stream, array.body, want)
		}
	}
	s := b.open("subject=_bus_.inbox&start=last") // as with oldest, there is nothing to begin with
	b.publish(`{"subject":"_bus_.inbox"}`)
	s.next("msg")
}

// published returns a stored event.
func (b *testBus) published(namespace string, index uint64) bus.Event {
	b.t.Helper()
	r := b.engine.Reader(namespace, index)
	defer r.Close()
	events, err := r.Next()
	if err != nil {
		b.t.Fatal(err)
	}
	return events[0]
}

// A stream that breaks off anywhere among the newest events goes on without losing a
// subject: what a reader has seen last of each is then the newest.
func TestAReconnectAmongTheNewestLosesNoSubject(t *testing.T) {
	for _, query := range []string{"subject=orders.price.*", "subject=orders.price.*&ack=manual", "subject=orders.price.*&subject=app.*"} {
		b := openBus(t)
		b.prices(6, 3)
		b.publish(`[{"subject":"app.a"},{"subject":"app.b"},{"subject":"app.a"}]`)
		for _, seen := range []int{0, 1, 3, 5} {
			last := make(map[string]string)
			s := b.open(query + "&start=last")
			resume := s.hello.id
			for range seen {
				f := s.next("msg")
				last[f.field("subject")], resume = f.field("index"), f.id
			}
			s.close()
			want := map[string]string{"orders.price.s0": "13", "orders.price.s5": "18"}
			if strings.Contains(query, "app") {
				want["app.a"], want["app.b"] = "3", "2"
			}
			again := b.do("GET", "/?"+strings.Replace(query, "&ack=manual", "", 1)+"&start=last&until=newest", "", "Accept: text/event-stream", "Last-Event-ID: "+resume)
			for _, line := range lines(again.body) {
				if data, ok := strings.CutPrefix(line, "data: "); ok {
					f := frame{data: data}
					if f.field("index") != "" {
						last[f.field("subject")] = f.field("index")
					}
				}
			}
			for subject, index := range want {
				if last[subject] != index {
					t.Errorf("%s, broken off after %d: got %s at %s, want %s", query, seen, subject, last[subject], index)
				}
			}
		}
	}
}

// Publishers never rest while streams begin: each stream's first events are the newest
// of each subject at one moment, and behind that moment nothing is missing or twice.
func TestBehindTheNewestNothingIsMissingOrTwiceUnderPublishers(t *testing.T) {
	b := openBus(t)
	stop, stopped := make(chan struct{}), sync.WaitGroup{}
	for w := range 3 {
		stopped.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			for {
				select {
				case <-stop:
					return
				default:
				}
				events := []bus.Event{{Subject: fmt.Sprintf("orders.price.s%d", r.IntN(8))}, {Subject: "orders.other"}}
				if err := b.engine.Append(t.Context(), "orders", events); err != nil {
					t.Errorf("append: %v", err)
					return
				}
			}
		})
	}
	for round := range 12 {
		query := "subject=orders.price.*&start=last"
		if round%2 == 1 {
			query += "&ack=manual&inflight=10000"
		}
		b.followsNewest(query)
	}
	close(stop)
	stopped.Wait()
}

// followsNewest reads some hundred events of a stream and compares them with the log.
func (b *testBus) followsNewest(query string) {
	b.t.Helper()
	s := b.open(query)
	defer s.close()
	var got []uint64
	for range 300 {
		var index uint64
		fmt.Sscan(s.next("msg").field("index"), &index)
		got = append(got, index)
	}
	log := b.stored("orders", got[len(got)-1])
	for seam := got[0]; seam <= got[len(got)-1]+1; seam++ {
		if slices.Equal(newestThenAll(log, seam), got) {
			return
		}
	}
	b.t.Fatalf("%s: got %v, which is not the newest of each subject at any moment and then everything", query, got)
}

// newestThenAll is what a stream carries whose moment is at seam.
func newestThenAll(log []bus.Event, seam uint64) (indexes []uint64) {
	last := make(map[string]uint64)
	for _, e := range log {
		if e.Index < seam {
			last[e.Subject] = e.Index
		}
	}
	for _, e := range log {
		if strings.HasPrefix(e.Subject, "orders.price.") && (e.Index >= seam || last[e.Subject] == e.Index) {
			indexes = append(indexes, e.Index)
		}
	}
	return indexes
}

// stored returns the events of a namespace up to an index.
func (b *testBus) stored(namespace string, to uint64) (all []bus.Event) {
	b.t.Helper()
	r := b.engine.Reader(namespace, 1)
	defer r.Close()
	for len(all) == 0 || all[len(all)-1].Index < to {
		events, err := r.Next()
		if err != nil {
			b.t.Fatal(err)
		}
		all = append(all, events...)
	}
	return all[:to]
}

// Damage may have taken the newest of a subject: the one before it comes in its place,
// behind a gap that says so, also for who pulls.
func TestStartLastSaysTheDamageThatMayHaveTakenTheNewest(t *testing.T) {
	b := openBus(t)
	for i := range 4 {
		b.publish(fmt.Sprintf(`{"subject":"orders.s%d","payload":"event-%d"}`, i%2, i))
	}
	b.publish(`{"subject":"orders.s0","payload":"event-4"}`)
	b.stop()
	path := filepath.Join(b.dir, "orders.log")
	log, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	log[bytes.Index(log, []byte("event-3"))] ^= 1
	if err := os.WriteFile(path, log, 0o600); err != nil {
		t.Fatal(err)
	}
	b.start("127.0.0.1:0")
	for range 2 {
		s := b.open("subject=orders.*&start=last&until=newest")
		if gap := s.next("gap"); gap.field("requested") != "#4" || gap.field("resumed_index") != "5" || gap.field("reason") != "damage" {
			t.Errorf("got %s, want event 4 said to be damaged", gap.data)
		}
		for _, want := range []string{"2", "5"} {
			if got := s.next("msg").field("index"); got != want {
				t.Errorf("got index %s, want %s", got, want)
			}
		}
		s.reached("until")
		a := b.do("GET", "/?subject=orders.*&start=last&until=newest", "", "Accept: application/json")
		if fmt.Sprint(listed(a.body)) != "[2 5]" || !strings.Contains(a.header.Get("X-BUS-GAP"), `"requested":"#4"`) {
			t.Errorf("got %s and the gap %q, want 2 and 5 and event 4", a.body, a.header.Get("X-BUS-GAP"))
		}
	}
	b.wrong("2", "/?expected_subject_index=4", `{"subject":"orders.s1"}`)
	b.wrong("5", "/?expected_index=4", `{"subject":"orders.s1"}`)
	b.stores("6", "/?expected_subject_index=2&expected_index=5", `{"subject":"orders.s1"}`)
}
