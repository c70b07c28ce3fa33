package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func newTestLag(said *talk) *lag {
	return &lag{log: loggerFor(said, false, logLevel(slog.LevelInfo), "json")}
}

func (l *lag) hears(tail uint64, now time.Time) {
	_, life := l.now()
	l.told(life, tail, false, now)
}

func TestWhatASourceSaidBeforeItWasAnotherLogIsNoLag(t *testing.T) {
	l, now := newTestLag(&talk{}), time.Unix(1000, 0)
	l.restart(90, now)
	_, life := l.now() // it is asked, and answers late
	l.restart(3, now)
	l.told(life, 100, true, now)
	l.hears(3, now)
	if events, _, known := l.behind(now); events != 0 || !known {
		t.Errorf("got %d events, %v, want 0, true", events, known)
	}
}

func TestLagIsNotHiddenByEventsThatSayTheyAreOfTheFuture(t *testing.T) {
	l, now := newTestLag(&talk{}), time.Now()
	l.restart(1, now.Add(time.Hour))
	l.reached(2, now.AddDate(100, 0, 0))
	l.hears(5, now)
	if events, age, _ := l.behind(now.Add(time.Minute)); events != 3 || age < 59*time.Second {
		t.Errorf("got %d events, %s, want 3 for a minute", events, age)
	}
}

func TestLagIsUnknownUntilBothEndsHaveSaidWhereTheyStand(t *testing.T) {
	l, now := newTestLag(&talk{}), time.Unix(1000, 0)
	l.hears(5, now)
	if _, _, known := l.behind(now); known {
		t.Error("got a lag before the target has said where it stands, want none")
	}
	l.restart(2, now.Add(-time.Minute))
	if _, _, known := l.behind(now); known {
		t.Error("got a lag before the source has said where it stands, want none")
	}
	l.hears(5, now)
	if events, age, known := l.behind(now); events != 3 || age != time.Minute || !known {
		t.Errorf("got %d events, %s, %v, want 3, 1m, true", events, age, known)
	}
}

func TestLagLastsSinceTheMirrorWasInStepOrSinceItsNewestEvent(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	l := newTestLag(&talk{})
	l.restart(1, at(-3600)) // nothing was published for an hour
	l.hears(1, at(0))
	for i, c := range []struct {
		do     func()
		now    int
		events uint64
		want   int
	}{
		{func() {}, 5, 0, 0},
		{func() { l.hears(3, at(10)) }, 10, 2, 10},            // since it was found in step, not for an hour
		{func() { l.reached(2, at(7)) }, 11, 1, 4},            // its newest is 4 s old
		{func() { l.reached(3, at(8)) }, 12, 0, 0},            // all of it
		{func() { l.seen(9) }, 13, 6, 5},                      // the source has come further
		{func() { l.upTo(9) }, 14, 0, 0},                      // none of them was wanted
		{func() { l.seen(10); l.hears(4, at(15)) }, 16, 1, 8}, // an answer that is older than what was seen
		{func() { l.restart(4, at(3)); l.hears(4, at(17)) }, 18, 0, 0},
	} {
		c.do()
		if events, age, _ := l.behind(at(c.now)); events != c.events || age != time.Duration(c.want)*time.Second {
			t.Errorf("step %d: got %d events, %s, want %d, %ds", i+1, events, age, c.events, c.want)
		}
	}
}

func TestLagIsToldWhenItIsLongAndAgainAndWhenItIsOver(t *testing.T) {
	said, start := &talk{}, time.Unix(1000, 0)
	l := newTestLag(said)
	l.restart(1, start)
	l.hears(9, start)
	for second := range 100 {
		l.say(start.Add(time.Duration(second)*time.Second), 20*time.Second)
	}
	l.reached(9, start)
	for range 3 {
		l.say(start.Add(100*time.Second), 20*time.Second)
	}
	if got := strings.Count(said.String(), `"msg":"behind","events":8`); got != 3 { // at 21, 51 and 81 s
		t.Errorf("got %d lines of being behind, want 3:\n%s", got, said)
	}
	if got := strings.Count(said.String(), `"msg":"in step","index":9`); got != 1 {
		t.Errorf("got %d lines of being in step, want 1:\n%s", got, said)
	}
}

func TestTheStatusOfAMirrorSaysWhetherItIsInStep(t *testing.T) {
	a, b := openTestBus(t, t.TempDir(), ""), openTestBus(t, t.TempDir(), "")
	a.put("app.one", "app.two")
	m := startMirror(t, "--from", a.url, "--to", b.url, "--status-addr", "127.0.0.1:0")
	m.says(`"msg":"in step","namespace":"app","index":2`)
	_, rest, _ := strings.Cut(m.said.String(), `"msg":"status is served","addr":"`)
	address, _, _ := strings.Cut(rest, `"`)
	wantAnswer := func(path string, status int, texts ...string) {
		t.Helper()
		eventually(t, func() bool {
			got, body := asked(t, "http://"+address+path)
			for _, text := range texts {
				if !strings.Contains(body, text) {
					return false
				}
			}
			return got == status
		})
	}
	wantAnswer("/livez", 200)
	wantAnswer("/readyz", 200, `"status":"ready"`, `"app":{"events_behind":0,"seconds_behind":0,"known":true,"source_up":true,"target_up":true}`)
	wantAnswer("/metrics", 200, "# TYPE bus_mirror_events_behind gauge\n", `bus_mirror_copied_total{namespace="app"} 2`+"\n", `bus_mirror_events_behind{namespace="orders"} 0`+"\n")
	a.close()
	wantAnswer("/readyz", 503, `"status":"behind"`, `"source_up":false`)
	wantAnswer("/metrics", 200, `bus_mirror_source_up{namespace="app"} 0`+"\n", `bus_mirror_target_up{namespace="app"} 1`+"\n")
	wantAnswer("/", 404)
	m.end(exitOK)
}

func TestAStatusAddressThatIsTakenIsRefusedBeforeAnythingIsDone(t *testing.T) {
	a := openTestBus(t, t.TempDir(), "")
	for _, address := range []string{a.addr, "nonsense", "127.0.0.1:99999"} {
		to := t.TempDir() + "/mirror"
		startMirror(t, "--from", a.url, "--to", to, "--status-addr", address).exit(exitUsage, "--status-addr", "wanted a free HOST:PORT")
		if err := checkDirectory(to); err == nil {
			t.Errorf("%s: got a directory, want none", address)
		}
	}
}

func TestTheLineOfProgressSaysHowFarBehindAMirrorIs(t *testing.T) {
	said := &talk{}
	l := newTestLag(said)
	m := &mirror{feeds: []*feed{{lag: l}}}
	if got, want := m.progressText(), "copied 0 events"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	l.restart(1, time.Now().Add(-time.Minute))
	l.hears(1, time.Now())
	l.wrote(1)
	if got, want := m.progressText(), "copied 1 event, in step"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	l.seen(8)
	if got, want := m.progressText(), "copied 1 event, 7 behind, "; !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestALogLineStandsAboveTheLineOfProgress(t *testing.T) {
	said := &talk{}
	s := newScreen(said)
	s.draw("copied 1")
	s.draw("copied 1")
	fmt.Fprintln(s, "in step")
	s.draw("")
	fmt.Fprintln(s, "end")
	if got, want := said.String(), "\r\x1b[Kcopied 1\r\x1b[Kin step\ncopied 1\r\x1b[Kend\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A log that has lost its end, or was put back from an older copy, is not what
// was copied any more.
func TestADirectoryThatEndsBeforeWhatWasCopiedIsLookedAtAnew(t *testing.T) {
	a := openTestBus(t, t.TempDir(), "")
	a.put("app.one", "app.two")
	src, err := openFollowed(a.dir, "app", nil, &damages{talk: &talk{}})
	if err != nil {
		t.Fatal(err)
	}
	defer src.close()
	err = src.follow(t.Context(), wanted{namespace: "app"}, 9, nil, func(batch) error { return context.Canceled })
	if got, want := fmt.Sprint(err), "ends at index 2, 8 were copied"; !strings.Contains(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}
