package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/client"
	"example.com/bus/crypto"
	"example.com/bus/server/disk"
)

// compactedLog compacts app of the directory of a server that is closed, until so many
// events are removed. It is long after what was put off was delivered.
func compactedLog(t *testing.T, dir string, want uint64, ring *crypto.Keyring) {
	t.Helper()
	e, err := openEngine(dir, disk.Options{Namespaces: []string{"app", "orders"}, Now: func() time.Time { return time.Now().Add(2 * time.Hour) }}, ring)
	if err != nil {
		t.Fatal(err)
	}
	_, next := e.Bounds("app")
	if err := e.Purge(t.Context(), "app", 2); err != nil { // it deletes nothing, and closes the file
		t.Fatal(err)
	}
	if err := e.SetRetention("app", disk.Retention{Compact: true}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return e.Inspect("app").Removed.Compacted >= want })
	if _, after := e.Bounds("app"); after != next {
		t.Errorf("got %d as the next index, want %d as before", after, next)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// ran runs a command to its end, which is to be a good one.
func ran(t *testing.T, args ...string) string {
	t.Helper()
	app, said := newApp(), &talk{}
	app.Writer, app.ErrWriter = said, said
	if code := report(said, app.RunContext(t.Context(), append([]string{"bus"}, args...))); code != exitOK {
		t.Fatalf("bus %v: got exit code %d: %s", args, code, said)
	}
	return said.String()
}

// state publishes events that tell the state of three things, with ids of its own if
// chosen.
func (b *testBus) state(from, to int, chosen bool) {
	b.t.Helper()
	var batch []client.PutOption
	for i := from; i < to; i++ {
		one := []client.PutOption{client.WithSubject(fmt.Sprintf("app.s%d", i%3)), client.WithData(i)}
		if chosen {
			one = append(one, client.WithId(fmt.Sprintf("own-%d", i)), client.WithCreatedAt(time.Unix(int64(9000-i), 0)))
		}
		batch = append(batch, client.Batch(one...))
	}
	if err := b.client.Put(b.t.Context(), batch...).Error(); err != nil {
		b.t.Fatal(err)
	}
}

// newestIn returns the newest payload of each subject of a directory.
func newestIn(t *testing.T, place string, ring *crypto.Keyring) map[string]string {
	t.Helper()
	src, err := openSource(place, ring, &damages{talk: &talk{}})
	if err != nil {
		t.Fatal(err)
	}
	defer src.close()
	newest := make(map[string]string)
	err = src.delivering().read(t.Context(), wanted{namespace: "app"}, func(events []bus.Event) error {
		for _, e := range events {
			newest[e.Subject] = string(e.Payload)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return newest
}

func wantNewest(t *testing.T, place, want string, ring *crypto.Keyring) {
	t.Helper()
	if got := fmt.Sprint(newestIn(t, place, ring)); got != want {
		t.Errorf("got %s as the newest, want %s", got, want)
	}
}

func TestASecondCopyIntoATargetThatCompactsBringsNothingOldBack(t *testing.T) {
	for _, chosen := range []bool{false, true} {
		for _, from := range []string{"server", "directory", "dump"} {
			for _, to := range []string{"server", "directory", "sealed"} {
				t.Run(fmt.Sprintf("%s to %s, chosen %t", from, to, chosen), func(t *testing.T) {
					a, target := openTestBus(t, t.TempDir(), ""), filepath.Join(t.TempDir(), "target")
					var ring *crypto.Keyring
					if to == "sealed" {
						key, err := crypto.NewKey(testSecret)
						if err != nil {
							t.Fatal(err)
						}
						ring = crypto.NewKeyring(key)
					}
					again := func() string {
						t.Helper()
						place := target
						if to == "server" {
							b := openTestBus(t, target, "")
							defer b.close()
							place = b.url
						}
						var secret []string
						if from == "dump" {
							dump := filepath.Join(t.TempDir(), "dump")
							ran(t, "dump", "--path", a.url, "--output", dump)
							if ring != nil {
								secret = []string{"--secret-key", testSecret}
							}
							return ran(t, append([]string{"restore", "--path", place, "--input", dump}, secret...)...)
						}
						if ring != nil {
							secret = []string{"--to-secret-key", testSecret}
						}
						src := map[string]string{"server": a.url, "directory": a.dir}[from]
						return ran(t, append([]string{"copy", "--from", src, "--to", place, "--namespaces", "app"}, secret...)...)
					}
					a.state(0, 30, chosen)
					again()
					compactedLog(t, target, 27, ring)
					if got := again(); !strings.Contains(got, " 0 events, skipped 3 that were there and 27 that are older than what is there") {
						t.Errorf("got %q, want all of it skipped", got)
					}
					wantNewest(t, target, "map[app.s0:27 app.s1:28 app.s2:29]", ring)
					a.state(30, 32, chosen)
					if got := again(); !strings.Contains(got, " 2 events, skipped ") {
						t.Errorf("got %q, want the 2 that are new", got)
					}
					wantNewest(t, target, "map[app.s0:30 app.s1:31 app.s2:29]", ring)
				})
			}
		}
	}
}

// A source may have removed what the target has as the newest, and others may have
// written there.
func TestWhatIsOlderThanAStrangerInATargetThatCompactsIsLeftOut(t *testing.T) {
	a, target := openTestBus(t, t.TempDir(), ""), filepath.Join(t.TempDir(), "target")
	a.state(0, 12, false)
	ran(t, "copy", "--from", a.url, "--to", target, "--namespaces", "app")
	b := openTestBus(t, target, "")
	b.state(90, 92, false) // newer ones of app.s0 and app.s1
	b.close()
	compactedLog(t, target, 11, nil)
	a.remove(12) // the newest of app.s2, which the target has
	a.state(13, 14, false)
	ran(t, "copy", "--from", a.url, "--to", target, "--namespaces", "app")
	wantNewest(t, target, "map[app.s0:90 app.s1:13 app.s2:11]", nil)
}

// A subject that was not copied before is no older one, and neither is what is missing
// of a log that keeps everything.
func TestASecondCopyAddsWhatWasLeftOutOfTheFirst(t *testing.T) {
	a, target := openTestBus(t, t.TempDir(), ""), filepath.Join(t.TempDir(), "target")
	a.state(0, 12, false)
	ran(t, "copy", "--from", a.url, "--to", target, "--subject", "app.s1")
	compactedLog(t, target, 3, nil)
	ran(t, "copy", "--from", a.url, "--to", target, "--namespaces", "app")
	wantNewest(t, target, "map[app.s0:9 app.s1:10 app.s2:11]", nil)

	full, kept := filepath.Join(t.TempDir(), "full"), filepath.Join(t.TempDir(), "kept")
	ran(t, "copy", "--from", a.url, "--to", full, "--namespaces", "app")
	a.remove(1)
	ran(t, "copy", "--from", a.url, "--to", kept, "--namespaces", "app")
	if got := ran(t, "copy", "--from", full, "--to", kept, "--namespaces", "app"); !strings.Contains(got, "copied 1 event, skipped 11 that were there\n") {
		t.Errorf("got %q, want the one that was missing added", got)
	}
}
