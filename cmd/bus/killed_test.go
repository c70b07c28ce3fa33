package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/client"
)

// journal is what one publisher knows for certain. It is written before an
// event is sent and after it is answered.
type journal struct {
	sent     map[string]bool
	answered map[string]client.Receipt
	batches  [][]string
}

func newJournal() *journal {
	return &journal{sent: map[string]bool{}, answered: map[string]client.Receipt{}}
}

// killedServer is a real server process on one address, killed and started
// again.
type killedServer struct {
	t    *testing.T
	dir  string
	addr string
	cmd  *exec.Cmd
	log  string
	pre  []string // what stands before the command, as in sh -c
}

func newKilledServer(t *testing.T) *killedServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // only its number is wanted
	dir := t.TempDir()
	return &killedServer{t: t, dir: filepath.Join(dir, "data"), addr: l.Addr().String(), log: filepath.Join(dir, "log")}
}

func (s *killedServer) start(flags ...string) {
	s.t.Helper()
	log, err := os.Create(s.log)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	args := []string{"server", "--addr", s.addr, "--path", s.dir, "--namespaces", "load", "--secret-key", testSecret}
	words := append(append(append(slices.Clone(s.pre), "bus"), args...), flags...)
	s.cmd = exec.Command(words[0], words[1:]...)
	s.cmd.Stderr = log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			s.cmd.Process.Kill()
			s.cmd.Wait()
		}
	})
	s.until(func() bool {
		text, _ := os.ReadFile(s.log)
		return bytes.Contains(text, []byte(`"msg":"listening"`))
	})
}

// until polls a condition.
func (s *killedServer) until(done func() bool) {
	s.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(s.log)
			s.t.Fatalf("got nothing within %s; the server says:\n%s", patience, text)
		}
	}
}

func (s *killedServer) stop(signal os.Signal) int {
	s.t.Helper()
	if err := s.cmd.Process.Signal(signal); err != nil {
		s.t.Fatal(err)
	}
	s.cmd.Wait()
	return s.cmd.ProcessState.ExitCode()
}

const (
	testSecret = "a secret of the test that is long enough"
	publishers = 8
	batchSize  = 5
	kills      = 5
)

// Nothing that was answered is lost when the server is killed in the middle of
// it, nothing is there twice, and there are no holes.
func TestKilledServerKeepsWhatItAnswered(t *testing.T) {
	s := newKilledServer(t)
	s.start()
	ctx, stop := context.WithCancel(t.Context())
	var answers atomic.Int64
	journals := make([]*journal, publishers)
	var running sync.WaitGroup
	for p := range publishers {
		journals[p] = newJournal()
		running.Go(func() { publishUntil(ctx, client.NewClient("http://"+s.addr), p, journals[p], &answers) })
	}
	for range kills {
		target := answers.Load() + 200
		s.until(func() bool { return answers.Load() >= target })
		s.stop(syscall.SIGKILL)
		s.start()
	}
	target := answers.Load() + 200
	s.until(func() bool { return answers.Load() >= target })
	stop()
	running.Wait()
	if got := s.stop(syscall.SIGTERM); got != 0 {
		t.Errorf("got exit code %d of the last server, want 0", got)
	}
	events := eventsIn(t, s.dir)
	checkJournals(t, events, journals)
	if out, err := exec.Command("bus", "verify", "--path", s.dir, "--secret-key", testSecret).CombinedOutput(); err != nil {
		t.Errorf("verify got %v, want no damage:\n%s", err, out)
	}
	t.Logf("%d answers, %d events in the log, %d kills", answers.Load(), len(events), kills)
}

// publishUntil publishes: even publishers singly, odd ones in batches; the
// first half once, the second with keys and again until there is an answer.
func publishUntil(ctx context.Context, c *client.Client, p int, j *journal, answers *atomic.Int64) {
	keyed := p >= publishers/2
	for n := 0; ctx.Err() == nil; n++ {
		size := 1
		if p%2 == 1 {
			size = batchSize
		}
		var names []string
		var options []client.PutOption
		for i := range size {
			name := fmt.Sprintf("p%d-%d-%d", p, n, i)
			names = append(names, name)
			j.sent[name] = true
			one := []client.PutOption{client.WithSubject("load.test"), client.WithData(name)}
			if keyed {
				one = append(one, client.WithKey(name))
			}
			options = append(options, client.Batch(one...))
		}
		j.batches = append(j.batches, names)
		// Not ctx: what has been sent is waited for, so that the journal is whole.
		put, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		resp := c.Put(put, options...)
		cancel()
		if resp.Error() != nil {
			continue
		}
		answers.Add(int64(size))
		for i, r := range resp.Receipts {
			j.answered[names[i]] = r
		}
	}
}

func eventsIn(t *testing.T, dir string) []bus.Event {
	t.Helper()
	out, err := exec.Command("bus", "dump", "--path", dir, "--secret-key", testSecret).Output()
	if err != nil {
		t.Fatalf("dump: %v", err)
	}
	d, err := newDumpReader(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	var events []bus.Event
	for {
		e, err := d.event()
		if err != nil {
			break // the counts in the last line are compared by the reader
		}
		events = append(events, e)
	}
	lines := bytes.Split(out, []byte("\n"))
	for i := range events { // ParseEvent leaves out what only the bus gives
		var w struct{ Index uint64 }
		if err := json.Unmarshal(lines[i+1], &w); err != nil {
			t.Fatal(err)
		}
		events[i].Index = w.Index
	}
	return events
}

func checkJournals(t *testing.T, events []bus.Event, journals []*journal) {
	t.Helper()
	at := make(map[string]bus.Event)
	for i, e := range events {
		if e.Index != uint64(i+1) {
			t.Fatalf("got index %d at place %d, want no holes", e.Index, i+1)
		}
		var name string
		if err := json.Unmarshal(e.Payload, &name); err != nil {
			t.Fatal(err)
		}
		if other, twice := at[name]; twice {
			t.Errorf("got %s at %d and at %d, want it once", name, other.Index, e.Index)
		}
		at[name] = e
	}
	for _, j := range journals {
		for name, want := range j.answered {
			if got, ok := at[name]; !ok || got.Id != want.Id || got.Index != want.Index {
				t.Errorf("%s: got %s at %d, was answered %s at %d", name, got.Id, got.Index, want.Id, want.Index)
			}
			delete(at, name)
			delete(j.sent, name)
		}
		checkBatches(t, events, at, j)
	}
	for name := range at {
		if !wasSent(journals, name) {
			t.Errorf("got %s, which nobody sent", name)
		}
	}
}

// checkBatches: a batch that was not answered is there whole or not at all.
func checkBatches(t *testing.T, events []bus.Event, at map[string]bus.Event, j *journal) {
	t.Helper()
	for _, names := range j.batches {
		found := 0
		for i, name := range names {
			if e, ok := at[name]; ok {
				found++
				if want := at[names[0]].Index + uint64(i); e.Index != want {
					t.Errorf("%s: got index %d, want %d, next to its batch", name, e.Index, want)
				}
			}
		}
		if found != 0 && found != len(names) {
			t.Errorf("batch of %s: got %d of %d events, want all or none", names[0], found, len(names))
		}
	}
}

func wasSent(journals []*journal, name string) bool {
	for _, j := range journals {
		if j.sent[name] {
			return true
		}
	}
	return false
}
