package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"example.com/bus"
	"example.com/bus/client"
)

// answers are the events that publishers know to be stored, by index.
type answers struct {
	mu   sync.Mutex // guards all below
	at   map[uint64]string
	last uint64
}

func (a *answers) add(index uint64, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at[index] = name
	a.last = max(a.last, index)
}

func (a *answers) newest() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// A server that deletes old events is killed in the middle of publishing,
// rolling and deleting: what was answered and is within the policy is there,
// whatever is gone is said to be, and no index is given twice.
func TestKilledServerWithARetentionKeepsWhatThePolicySays(t *testing.T) {
	const kept = 320
	flags := []string{"--retention", fmt.Sprintf("load=%devents", kept)}
	s := newKilledServer(t)
	s.start(flags...)
	ctx, stop := context.WithCancel(t.Context())
	known := &answers{at: map[uint64]string{}}
	var running sync.WaitGroup
	for p := range publishers {
		running.Go(func() { publishSingly(ctx, client.NewClient("http://"+s.addr), p, known) })
	}
	for range kills {
		target := known.newest() + 400
		s.until(func() bool { return known.newest() >= target })
		s.stop(syscall.SIGKILL)
		answered := known.newest()
		s.start(flags...)
		info := infoOf(t, s.addr)
		if info.Last < answered || info.First > info.Last-kept+1 { // publishing goes on
			t.Errorf("got the events %d to %d, want %d at least, up to %d or more", info.First, info.Last, kept, answered)
		}
	}
	stop()
	running.Wait()
	info := infoOf(t, s.addr)
	checkGapSaid(t, s.addr, info.First)
	if got := s.stop(syscall.SIGTERM); got != 0 {
		t.Errorf("got exit code %d of the last server, want 0", got)
	}
	checkKept(t, eventsIn(t, s.dir), known, kept)
	if out, err := exec.Command("bus", "verify", "--path", s.dir, "--secret-key", testSecret).CombinedOutput(); err != nil {
		t.Errorf("verify got %v, want no damage:\n%s", err, out)
	}
}

func publishSingly(ctx context.Context, c *client.Client, p int, known *answers) {
	for n := 0; ctx.Err() == nil; n++ {
		name := fmt.Sprintf("p%d-%d", p, n)
		put, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		resp := c.Put(put, client.WithSubject("load.test"), client.WithData(name))
		cancel()
		if resp.Error() == nil {
			known.add(resp.Index, name)
		}
	}
}

func fetch(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func infoOf(t *testing.T, addr string) (info bus.NamespaceInfo) {
	t.Helper()
	if err := json.Unmarshal(fetch(t, "http://"+addr+"/v1/namespaces/load"), &info); err != nil {
		t.Fatal(err)
	}
	return info
}

// checkGapSaid reads from an index that is gone.
func checkGapSaid(t *testing.T, addr string, first uint64) {
	t.Helper()
	text := fetch(t, "http://"+addr+"/?subject=load.test&start=%231&limit=1")
	found := regexp.MustCompile(`"resumed_index":(\d+),"lost":(\d+),"reason":"retention"`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("got %q, want a gap with the reason retention", text)
	}
	resumed, _ := strconv.ParseUint(string(found[1]), 10, 64)
	lost, _ := strconv.ParseUint(string(found[2]), 10, 64)
	if resumed < first || lost != resumed-1 {
		t.Errorf("got a gap of %d up to %d, want %d up to %d", lost, resumed, first-1, first)
	}
}

// checkKept holds what is left against what was answered.
func checkKept(t *testing.T, events []bus.Event, known *answers, kept uint64) {
	t.Helper()
	if len(events) < int(kept) || len(events) > 2*int(kept) {
		t.Fatalf("got %d events, want %d or some more", len(events), kept)
	}
	first := events[0].Index
	last := first + uint64(len(events)) - 1
	for i, e := range events {
		var name string
		if err := json.Unmarshal(e.Payload, &name); err != nil {
			t.Fatal(err)
		}
		if want, ok := known.at[e.Index]; e.Index != first+uint64(i) || ok && name != want {
			t.Fatalf("got %s at %d, want %s at %d", name, e.Index, want, first+uint64(i))
		}
	}
	if known.last > last {
		t.Errorf("got the events up to %d, %d was answered", last, known.last)
	}
}
