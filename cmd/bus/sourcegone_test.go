package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/bus/client"
)

// mirrorOnce mirrors until both are in step.
func mirrorOnce(t *testing.T, index int, args ...string) string {
	t.Helper()
	m := startMirror(t, append(args, "--namespaces", "app")...)
	m.says(`"msg":"in step","namespace":"app","index":` + strconv.Itoa(index))
	m.end(exitOK)
	return m.said.String()
}

// later publishes states that are put off, and waits until they are delivered.
func (b *testBus) later(from, to int) {
	b.t.Helper()
	var batch []client.PutOption
	for i := from; i < to; i++ {
		batch = append(batch, client.Batch(client.WithSubject(fmt.Sprintf("app.s%d", i%3)), client.WithData(i), client.WithDelay(time.Millisecond)))
	}
	if err := b.client.Put(b.t.Context(), batch...).Error(); err != nil {
		b.t.Fatal(err)
	}
	b.events("app", 2*to)
}

func TestAMirrorGoesOnWhenTheSourceHasCompactedAllThatItsNewestEventsWere(t *testing.T) {
	for _, from := range []string{"server", "directory"} {
		for _, to := range []string{"server", "directory"} {
			t.Run(from+" to "+to, func(t *testing.T) {
				a, target := openTestBus(t, t.TempDir(), ""), filepath.Join(t.TempDir(), "target")
				a.state(0, 400, false)
				place := target
				if to == "server" {
					place = openTestBus(t, target, "").url
				}
				for i, want := range []int{400, 800} {
					src := map[string]string{"server": a.url, "directory": a.dir}[from]
					said := mirrorOnce(t, want, "--from", src, "--to", place)
					if strings.Contains(said, "not asked of the source") || strings.Contains(said, "damage") {
						t.Errorf("got %s, want no word of strangers or damage", said)
					}
					if i > 0 {
						break
					}
					a.state(400, 800, false)
					a.close()
					compactedLog(t, a.dir, 797, nil)
					a = openTestBus(t, a.dir, "")
				}
				wantNewest(t, place, "map[app.s0:798 app.s1:799 app.s2:797]", nil)
				if src, err := openSource(place, nil, nil); err != nil {
					t.Fatal(err)
				} else if got, err := src.(followed).last(t.Context(), "app"); err != nil || got != 403 {
					t.Errorf("got %d events and %v, want the 400 that were mirrored and the 3 that are left", got, err)
				} else {
					src.close()
				}
			})
		}
	}
}

func TestAMirrorGoesOnWhenItsNewestEventsWereDeletedAtTheSource(t *testing.T) {
	a, target := openTestBus(t, t.TempDir(), ""), filepath.Join(t.TempDir(), "target")
	a.state(0, 300, false)
	mirrorOnce(t, 300, "--from", a.url, "--to", target)
	for i := 20; i <= 300; i++ {
		a.remove(i)
	}
	a.state(300, 303, false)
	if said := mirrorOnce(t, 303, "--from", a.url, "--to", target); !strings.Contains(said, "copied 3 events") {
		t.Errorf("got %s, want the 3 that are new", said)
	}
}

// Ids that publishers chose, and those of events that were put off, say no place: what
// both still have does.
func TestAMirrorGoesOnBehindWhatASourceWithChosenIdsHasLeft(t *testing.T) {
	for _, chosen := range []bool{true, false} {
		a, target := openTestBus(t, t.TempDir(), ""), filepath.Join(t.TempDir(), "target")
		if chosen {
			if err := a.client.Put(t.Context(), client.WithSubject("app.quiet"), client.WithData(0), client.WithId("quiet")).Error(); err != nil {
				t.Fatal(err)
			}
			a.state(0, 400, true)
		} else {
			a.later(0, 300)
		}
		mirrored, err := newHostSource(a.url, nil).last(t.Context(), "app")
		if err != nil {
			t.Fatal(err)
		}
		mirrorOnce(t, int(mirrored), "--from", a.url, "--to", target)
		removed := uint64(797)
		if chosen {
			a.state(400, 800, true)
		} else {
			a.later(300, 600)
			removed = 597
		}
		a.close()
		if !chosen { // first the places where they waited, then those where they were delivered
			compactedLog(t, a.dir, removed, nil)
		}
		compactedLog(t, a.dir, removed, nil)
		a = openTestBus(t, a.dir, "")
		last, err := newHostSource(a.url, nil).last(t.Context(), "app")
		if err != nil {
			t.Fatal(err)
		}
		if said := mirrorOnce(t, int(last), "--from", a.url, "--to", target); !strings.Contains(said, "copied 3 events, skipped 0") {
			t.Errorf("chosen %t: got %s, want the 3 that are left copied", chosen, said)
		}
	}
}

func TestAMirrorOfWhichASourceWithChosenIdsHasNothingLeftIsRefusedAndSaysWhy(t *testing.T) {
	a, target := openTestBus(t, t.TempDir(), ""), filepath.Join(t.TempDir(), "target")
	a.state(0, 300, true)
	mirrorOnce(t, 300, "--from", a.url, "--to", target)
	a.state(300, 303, true)
	a.close()
	compactedLog(t, a.dir, 300, nil)
	startMirror(t, "--from", a.dir, "--to", target, "--namespaces", "app").exit(exitFailed, "ids that publishers chose do not say", "mirror into an empty target")
}

func TestAMirrorThatLacksAnEventIsRefusedHoweverMuchTheSourceHasRemoved(t *testing.T) {
	a, target := openTestBus(t, t.TempDir(), ""), filepath.Join(t.TempDir(), "target")
	for i, subject := range []string{"app.first", "app.second", "app.third"} {
		if err := a.client.Put(t.Context(), client.WithSubject(subject), client.WithData(i), client.WithId(subject)).Error(); err != nil {
			t.Fatal(err)
		}
	}
	a.state(0, 300, true)
	ran(t, "copy", "--from", a.url, "--to", target, "--subject", "app.first", "--subject", "app.third", "--subject", "app.s0", "--subject", "app.s1", "--subject", "app.s2")
	b := openTestBus(t, target, "")
	b.state(1000, 1003, false)
	b.close()
	a.state(300, 303, true)
	a.close()
	compactedLog(t, a.dir, 300, nil)
	startMirror(t, "--from", a.dir, "--to", target, "--namespaces", "app").exit(exitFailed, "the target lacks events of the source")
}

func TestATargetThatCompactsHasNotLostEventsToDamage(t *testing.T) {
	for _, subject := range []string{"", "app.>"} {
		a, target := openTestBus(t, t.TempDir(), ""), filepath.Join(t.TempDir(), "target")
		args := []string{"--from", a.url, "--to", target}
		if subject != "" {
			args = append(args, "--subject", subject)
		}
		a.state(0, 30, false)
		mirrorOnce(t, 30, args...)
		compactedLog(t, target, 27, nil)
		a.state(30, 32, false)
		if said := mirrorOnce(t, 32, args...); strings.Contains(said, "damage") || !strings.Contains(said, "copied 2 events, skipped 0") {
			t.Errorf("%q: got %s, want 2 more events and no word of damage", subject, said)
		}
	}
}
