package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/client"
)

// copyProcess is a bus copy --follow that is killed and started again.
type copyProcess struct {
	t    *testing.T
	args []string
	log  string // of all its lives
	cmd  *exec.Cmd
}

func newCopyProcess(t *testing.T, args ...string) *copyProcess {
	return &copyProcess{t: t, args: append([]string{"copy", "--follow"}, args...), log: filepath.Join(t.TempDir(), "log")}
}

func (p *copyProcess) start() {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("bus", p.args...)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.cmd = cmd
	p.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
}

func (p *copyProcess) stop(signal os.Signal) int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		p.t.Fatal(err)
	}
	p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

func (p *copyProcess) said() string {
	text, _ := os.ReadFile(p.log)
	return string(text)
}

// wantMirrored wants the same events at the same places, whole.
func wantMirrored(t *testing.T, got, want []bus.Event) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("got %d events, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		g, w := &got[i], &want[i]
		if g.Id != w.Id || g.Index != w.Index || g.Subject != w.Subject || g.Key != w.Key || g.TraceId != w.TraceId ||
			!g.CreatedAt.Equal(w.CreatedAt) || !bytes.Equal(g.Payload, w.Payload) || !maps.Equal(g.Headers, w.Headers) {
			t.Fatalf("at %d: got %+v, want %+v", i, g, w)
		}
	}
}

// untilIndex waits until a server has so many events.
func untilIndex(s *killedServer, want uint64) {
	s.t.Helper()
	s.until(func() bool {
		resp, err := http.Get("http://" + s.addr + "/v1/namespaces/load")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		var info bus.NamespaceInfo
		return json.NewDecoder(resp.Body).Decode(&info) == nil && info.Last >= want
	})
}

const mirrored = 3000 // events, at least

// killedWhilePublishing publishes to a server, and calls kill again and again in
// between. It returns what the server has at the end.
func killedWhilePublishing(t *testing.T, s *killedServer, kill func(round int)) []bus.Event {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var answers atomic.Int64
	var running sync.WaitGroup
	journals := make([]*journal, publishers)
	for p := range publishers {
		journals[p] = newJournal()
		running.Go(func() { publishUntil(ctx, client.NewClient("http://"+s.addr), p, journals[p], &answers) })
	}
	const rounds = 12
	for round := range rounds {
		s.until(func() bool { return answers.Load() >= int64((round+1)*mirrored/rounds) })
		kill(round)
	}
	stop()
	running.Wait()
	events := eventsIn(t, s.dir)
	checkJournals(t, events, journals)
	return events
}

// Source, target and copy are killed in any order while events come in. At the
// end the mirror has each event once, in the source's order.
func TestAMirrorIsTheSourceWhoeverIsKilledInBetween(t *testing.T) {
	a, b := newKilledServer(t), newKilledServer(t)
	a.start()
	b.start()
	c := newCopyProcess(t, "--from", "http://"+a.addr, "--to", "http://"+b.addr)
	c.start()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	want := killedWhilePublishing(t, a, func(round int) {
		killed := round // each once, then any
		if round > 2 {
			killed = dice.IntN(3)
		}
		if round%4 == 3 { // the mirror is not to sleep through all of it
			untilIndex(b, uint64(round*mirrored/24))
		}
		switch killed {
		case 0:
			a.stop(syscall.SIGKILL)
			a.start()
		case 1:
			b.stop(syscall.SIGKILL)
			b.start()
		case 2:
			c.stop(syscall.SIGKILL)
			c.start()
		}
	})
	untilIndex(b, uint64(len(want)))
	if got := c.stop(syscall.SIGTERM); got != exitOK {
		t.Errorf("got exit code %d, want %d:\n%s", got, exitOK, c.said())
	}
	wantMirrored(t, eventsIn(t, b.dir), want)
	t.Logf("%d events", len(want))
}

// The same beside a server, by its files, into a directory that is sealed with
// another key.
func TestAMirrorOfADirectoryIsTheSourceWhoeverIsKilledInBetween(t *testing.T) {
	a := newKilledServer(t)
	a.start()
	const other = "another secret of the test that is long enough"
	to := filepath.Join(t.TempDir(), "mirror")
	c := newCopyProcess(t, "--from", a.dir, "--from-secret-key", testSecret, "--to", to, "--to-secret-key", other)
	c.start()
	want := killedWhilePublishing(t, a, func(round int) {
		if round%2 == 0 {
			c.stop(syscall.SIGKILL)
			c.start()
			return
		}
		a.stop(syscall.SIGKILL)
		a.start()
	})
	a.until(func() bool {
		out, err := exec.Command("bus", "verify", "--path", to, "--secret-key", other).Output()
		return err == nil && bytes.Contains(out, fmt.Appendf(nil, "load: good, %d events", len(want)))
	})
	if got := c.stop(syscall.SIGTERM); got != exitOK {
		t.Errorf("got exit code %d, want %d:\n%s", got, exitOK, c.said())
	}
	back := filepath.Join(t.TempDir(), "back")
	if out, err := exec.Command("bus", "copy", "--from", to, "--from-secret-key", other, "--to", back, "--to-secret-key", testSecret).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	wantMirrored(t, eventsIn(t, back), want)
}
