package main

import (
	"os"
	"path/filepath"
	"testing"

	"example.com/bus/client"
)

// count publishes n events that all say the same.
func (b *testBus) count(n int) {
	b.t.Helper()
	for range n {
		if err := b.client.Put(b.t.Context(), client.WithSubject("app.x"), client.WithData(1)).Error(); err != nil {
			b.t.Fatal(err)
		}
	}
}

// putBack returns a server that has, of three events of app that a has, the first,
// and then others that say the same. It is closed, and a as well.
func putBack(t *testing.T, a *testBus, others int) *testBus {
	t.Helper()
	a.count(1)
	a.close()
	older := filepath.Join(t.TempDir(), "older")
	if err := os.CopyFS(older, os.DirFS(a.dir)); err != nil {
		t.Fatal(err)
	}
	again := openTestBus(t, a.dir, a.addr)
	again.count(2)
	b := openTestBus(t, older, "")
	b.count(others)
	b.close()
	*a = *again
	return b
}

func TestASourceThatWasPutBackAndHasGrownIsNotTakenForWhatWasMirrored(t *testing.T) {
	for name, other := range map[string]int{"as long": 2, "longer": 4} {
		for _, from := range []string{"a server", "a directory"} {
			t.Run(name+", "+from, func(t *testing.T) {
				a := openTestBus(t, t.TempDir(), "")
				older := putBack(t, a, other)
				to := filepath.Join(t.TempDir(), "mirror")
				place, placeThen := a.url, ""
				if from == "a directory" {
					place, placeThen = a.dir, older.dir
				}
				m := startMirror(t, "--from", place, "--to", to, "--namespaces", "app")
				m.says(`"msg":"in step","namespace":"app","index":3`)
				m.end(exitOK)
				if placeThen == "" {
					placeThen = openTestBus(t, older.dir, "").url
				}
				startMirror(t, "--from", placeThen, "--to", to, "--namespaces", "app").exit(exitFailed, "is that of event 3 of the source, and of another event of the target")
				if got := len(inDirectory(t, to)); got != 3 {
					t.Errorf("got %d events, want the 3 that were there", got)
				}
			})
		}
	}
}

func TestASourceThatIsPutBackAndGrowsWhileItIsMirroredIsNotTakenForTheSame(t *testing.T) {
	for _, from := range []string{"a server", "a directory"} {
		t.Run(from, func(t *testing.T) {
			a := openTestBus(t, t.TempDir(), "")
			older := putBack(t, a, 4)
			to := filepath.Join(t.TempDir(), "mirror")
			place := a.url
			if from == "a directory" {
				place = a.dir
			}
			m := startMirror(t, "--from", place, "--to", to, "--namespaces", "app")
			m.says(`"msg":"in step","namespace":"app","index":3`)
			a.close()
			if from == "a server" {
				openTestBus(t, older.dir, a.addr)
			} else if err := os.Rename(filepath.Join(older.dir, "app.log"), filepath.Join(a.dir, "app.log")); err != nil {
				t.Fatal(err)
			}
			m.exit(exitFailed, "is another one now than was copied")
			if got := len(inDirectory(t, to)); got != 3 {
				t.Errorf("got %d events, want the 3 that were there", got)
			}
		})
	}
}

// The copy takes an event for one that it has by its id.
func TestAnEventWhoseIDWasGivenAnewIsAClash(t *testing.T) {
	a := openTestBus(t, t.TempDir(), "")
	older := putBack(t, a, 2)
	for _, to := range []string{filepath.Join(t.TempDir(), "copy"), openTestBus(t, t.TempDir(), "").url} {
		for i, from := range []string{a.dir, older.dir} {
			var said talk
			code := run([]string{"bus", "copy", "--from", from, "--to", to, "--namespaces", "app"}, nil, nil, &said)
			if want := []int{exitOK, exitFailed}[i]; code != want {
				t.Errorf("to %s: got exit code %d and %s, want %d", to, code, &said, want)
			}
		}
	}
}
