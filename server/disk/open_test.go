package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// wantRefused checks that Open fails and says these words.
func wantRefused(t *testing.T, dir string, o Options, words ...string) error {
	t.Helper()
	e, err := Open(dir, o)
	if err == nil {
		e.Close()
		t.Fatalf("got no error, wanted one with %q", words)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("got %q, wanted %q in it", err, word)
		}
	}
	return err
}

func TestTheDirectoryAndItsFilesAreForTheOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "data")
	e := openTest(t, dir, Options{})
	mustAppend(t, e, strange(0, 3)...)
	mustClose(t, e)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: got mode %s, wanted nothing for others", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNamesThatAreNoNamespaceBecomeNoPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for _, name := range []string{"", ".", "..", "../x", "a/b", "/etc/x", "a.b", "a\x00b", "a b", "ä", "_bus_", strings.Repeat("x", 65)} {
		wantRefused(t, dir, Options{Namespaces: []string{"orders", name}}, "namespace")
		if _, err := Verify(dir, name, nil); !errors.Is(err, bus.ErrInvalidSubject) {
			t.Errorf("verify %q: got %v, want %v", name, err, bus.ErrInvalidSubject)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v: the directory was made for names that are refused", err)
	}
	wantRefused(t, dir, Options{}, "at least one")
}

func TestNamesThatDifferOnlyInCaseAreRefused(t *testing.T) {
	dir := t.TempDir()
	wantRefused(t, dir, Options{Namespaces: []string{"orders", "users", "Orders"}}, `"orders"`, `"Orders"`, "case")
	mustClose(t, openTest(t, dir, Options{}))
	wantRefused(t, dir, Options{Namespaces: []string{"ORDERS"}}, `"orders"`, `"ORDERS"`, "case")
	writeFile(t, readFile(t, dir, "orders.log"), dir, "Orders.log")
	mustClose(t, openTest(t, dir, Options{ReadOnly: true})) // they are two files here, and can be read
	e := openTest(t, dir, Options{Namespaces: []string{"orders", "orders"}})
	if got := e.Namespaces(); !slices.Equal(got, []string{"orders"}) {
		t.Errorf("got %q, want one", got)
	}
}

func TestOnlyARegularFileIsTakenForALog(t *testing.T) {
	other := t.TempDir()
	mustClose(t, openTest(t, other, Options{}))
	for want, plant := range map[string]func(path string) error{
		"symbolic link": func(path string) error { return os.Symlink(filepath.Join(other, "orders.log"), path) },
		"directory":     func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "orders.log")
		if err := plant(path); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, dir, Options{Namespaces: []string{"orders"}}, path, want)
		if _, err := Verify(dir, "orders", nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("verify: got %v, wanted %q in it", err, want)
		}
		if names, err := Discover(dir); err != nil || len(names) != 0 {
			t.Errorf("discover: got %q, %v, want none", names, err)
		}
	}
}

func TestADirectoryIsOpenOnceAndTheHolderIsNamed(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{})
	err := wantRefused(t, dir, Options{Namespaces: []string{"users"}}, dir, fmt.Sprintf("pid %d", os.Getpid()))
	if !errors.Is(err, immuta.ErrLocked) {
		t.Errorf("got %v, want %v", err, immuta.ErrLocked)
	}
	mustClose(t, e)
	mustClose(t, openTest(t, dir, Options{}))
}

func TestAFailedOpenGivesTheDirectoryBack(t *testing.T) {
	dir := t.TempDir()
	mustClose(t, openTest(t, dir, Options{Namespaces: []string{"zebra"}, Sealing: fakeSealing{"secret"}}))
	err := wantRefused(t, dir, Options{Namespaces: []string{"apple", "zebra"}}, "zebra", "sealed")
	if !errors.Is(err, immuta.ErrSealed) {
		t.Errorf("got %v, want %v", err, immuta.ErrSealed)
	}
	mustClose(t, openTest(t, dir, Options{Namespaces: []string{"apple"}}))
}

func TestAWrongKeyAndAPlainLogWithAKeyAreRefused(t *testing.T) {
	sealed, plain := t.TempDir(), t.TempDir()
	mustClose(t, openTest(t, sealed, Options{Sealing: fakeSealing{"secret"}}))
	mustClose(t, openTest(t, plain, Options{}))
	orders := []string{"orders"}
	wantRefused(t, sealed, Options{Namespaces: orders, Sealing: fakeSealing{"another"}}, "no key has this id")
	if err := wantRefused(t, plain, Options{Namespaces: orders, Sealing: fakeSealing{"secret"}}); !errors.Is(err, immuta.ErrPlain) {
		t.Errorf("got %v, want %v", err, immuta.ErrPlain)
	}
}

func TestDiscoverFindsLogsAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{Namespaces: []string{"users", "orders", "App-1"}})
	if err := e.Append(t.Context(), "users", []bus.Event{{Subject: "users.created", Id: "chosen"}}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, e)
	for _, name := range []string{"notes.txt", "users.17.log", "orders.torn-55", ".hidden.log", "orders.log.stale", "_bus_.log"} {
		writeFile(t, []byte("x"), dir, name)
	}
	want := []string{"App-1", "orders", "users"}
	if got, err := Discover(dir); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if _, err := Discover(filepath.Join(dir, "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
}

func TestReadingOnlyOpensWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	wantRefused(t, dir, Options{ReadOnly: true}, "no logs", dir)
	mustClose(t, openTest(t, dir, Options{Namespaces: []string{"users", "orders"}}))
	e := openTest(t, dir, Options{ReadOnly: true})
	if got := e.Namespaces(); !slices.Equal(got, []string{"orders", "users"}) {
		t.Errorf("got %q, want what is there", got)
	}
	if err := e.Append(t.Context(), "orders", []bus.Event{testEvent("orders.created", "1")}); !errors.Is(err, bus.ErrStorage) {
		t.Errorf("append: got %v, want %v", err, bus.ErrStorage)
	}
	err := wantRefused(t, dir, Options{ReadOnly: true, Namespaces: []string{"other"}}, "other", "orders, users")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
	if _, err := os.Stat(filepath.Join(dir, "other.log")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading only made a file: %v", err)
	}
}

func TestDurabilityHasOneSpelling(t *testing.T) {
	for text, want := range map[string]string{"always": "always", "os": "os", "interval=100ms": "interval=100ms", "interval=1.5s": "interval=1.5s", "interval=1000us": "interval=1ms"} {
		if got, err := ParseDurability(text); err != nil || got.String() != want {
			t.Errorf("%s: got %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "Always", "interval", "interval=", "interval=5", "interval=0s", "interval=-1s", "interval=10us", "fsync"} {
		if got, err := ParseDurability(text); err == nil || !strings.Contains(err.Error(), "interval=100ms") {
			t.Errorf("%q: got %s, %v, wanted an error that shows how", text, got, err)
		}
	}
	if got, want := (Durability{}).String(), "always"; got != want {
		t.Errorf("zero: got %s, want %s", got, want)
	}
}

func TestAClockThatIsGivenStampsTheEvents(t *testing.T) {
	e := openTest(t, t.TempDir(), Options{Now: func() time.Time { return testTime }})
	if got := mustAppend(t, e, testEvent("orders.created", "1"))[0].CreatedAt; !got.Equal(testTime) {
		t.Errorf("got %s, want %s", got, testTime)
	}
}

func TestAWrongKeyMakesNoLog(t *testing.T) {
	dir := t.TempDir()
	mustClose(t, openTest(t, dir, Options{Namespaces: []string{"orders"}, Sealing: fakeSealing{"secret"}}))
	for name, o := range map[string]Options{
		"another key": {Namespaces: []string{"app", "orders"}, Sealing: fakeSealing{"other"}},
		"no key":      {Namespaces: []string{"app", "orders"}},
	} {
		if e, err := Open(dir, o); err == nil {
			t.Errorf("%s: opened", name)
			mustClose(t, e)
		}
		if found, err := Discover(dir); err != nil || len(found) != 1 {
			t.Errorf("%s: got logs %v, %v, want orders alone: a log made with a wrong key is lost to the right one", name, found, err)
		}
	}
	mustClose(t, openTest(t, dir, Options{Namespaces: []string{"app", "orders"}, Sealing: fakeSealing{"secret"}}))
}

func TestALogUnderTwoNamesIsRefused(t *testing.T) {
	dir := t.TempDir()
	mustClose(t, openTest(t, dir, Options{Namespaces: []string{"orders"}}))
	writeFile(t, readFile(t, dir, "orders.log"), dir, "app.log")
	err := wantRefused(t, dir, Options{Namespaces: []string{"app", "orders"}})
	if err == nil || !strings.Contains(err.Error(), "same log under two names") {
		t.Errorf("got %v, want the copy named", err)
	}
}

func TestALogOfAnotherNamespaceIsDamageAndNotAnEmptyOne(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{Namespaces: []string{"orders"}})
	mustAppend(t, e, bus.Event{Subject: "orders.created"})
	mustClose(t, e)
	if err := os.Rename(filepath.Join(dir, "orders.log"), filepath.Join(dir, "app.log")); err != nil {
		t.Fatal(err)
	}
	e = openTest(t, dir, Options{Namespaces: []string{"app"}})
	defer mustClose(t, e)
	r := e.Reader("app", 1)
	defer r.Close()
	_, err := r.Next()
	if damage, ok := errors.AsType[*bus.DamageError](err); !ok || !strings.Contains(damage.Error(), "not the log of app") {
		t.Errorf("got %v, want damage that says whose log it is", err)
	}
}

func TestEventsAreDatedByTheClockAlsoWhenTheLogIsAheadOfIt(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	var j journal
	e := openTest(t, dir, Options{Namespaces: []string{"orders"}, Now: clock})
	mustAppend(t, e, bus.Event{Subject: "orders.created"})
	mustClose(t, e)
	now = now.AddDate(-10, 0, 0)
	e = openTest(t, dir, Options{Namespaces: []string{"orders"}, Now: clock, Logger: j.logger()})
	got := mustAppend(t, e, bus.Event{Subject: "orders.created"})[0]
	if !got.CreatedAt.Equal(now) {
		t.Errorf("got %s, want %s", got.CreatedAt, now)
	}
	mustClose(t, e)
	wantLogged(t, &j, "from the future")
}

func TestAServerStartsOnAFullDiskAndReads(t *testing.T) {
	files := faultfs.New()
	options := Options{Namespaces: []string{"orders"}, FS: files}
	e, err := Open("data", options)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, e, bus.Event{Subject: "orders.created"})
	mustClose(t, e)
	files.Restart()
	files.Inject(func(c faultfs.Call) error {
		if c.Op == "write" {
			return syscall.ENOSPC
		}
		return nil
	})
	e, err = Open("data", options)
	if err != nil {
		t.Fatalf("on a full disk: %v", err)
	}
	defer e.Close()
	if got, damage := readOn(t, e); len(got) != 1 || len(damage) != 0 {
		t.Errorf("got %d events and damage %v, want the one that is there", len(got), damage)
	}
	if err := e.Append(t.Context(), "orders", []bus.Event{{Subject: "orders.created"}}); !errors.Is(err, bus.ErrInsufficientSpace) {
		t.Errorf("append: got %v, want %s", err, bus.ErrInsufficientSpace.Code)
	}
	files.Inject(nil)
	mustAppend(t, e, bus.Event{Subject: "orders.created"})
}

// A log that is not there any more, of a volume that is not mounted or a file
// that was moved, must not be taken for one that never was.
func TestAMissingLogIsNotReplacedByAnEmptyOne(t *testing.T) {
	for _, left := range []string{"orders.idx", "derived/orders.log", "derived/orders.subjects.log"} {
		dir := t.TempDir()
		e := openTest(t, dir, smallGroups(Options{}))
		mustAppend(t, e, strange(0, 12)...)
		mustClose(t, e)
		for _, path := range []string{"orders.log", "orders.idx", "derived/orders.log", "derived/orders.idx", "derived/orders.subjects.log", "derived/orders.subjects.idx"} {
			if path != left {
				if err := os.Remove(filepath.Join(dir, path)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := Open(dir, Options{Namespaces: []string{"orders"}}); err == nil || !strings.Contains(err.Error(), "orders.log is missing") || !strings.Contains(err.Error(), left) {
			t.Errorf("%s is left: got %v, want a refusal that names it", left, err)
		}
		if _, err := os.Lstat(filepath.Join(dir, "orders.log")); err == nil {
			t.Errorf("%s is left: a log was made", left)
		}
		if err := os.Remove(filepath.Join(dir, left)); err != nil {
			t.Fatal(err)
		}
		mustClose(t, openTest(t, dir, Options{}))
	}
}

// Whoever does want an empty log is told once what to remove, not file by file.
func TestARefusalOfAMissingLogNamesAllThatIsLeft(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, smallGroups(Options{}))
	mustAppend(t, e, strange(0, 12)...)
	mustClose(t, e)
	if err := os.Remove(filepath.Join(dir, "orders.log")); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir, Options{Namespaces: []string{"orders"}})
	for _, left := range []string{"orders.idx", "derived/orders.log", "derived/orders.subjects.log"} {
		if err == nil || !strings.Contains(err.Error(), left) {
			t.Errorf("got %v, want a refusal that names %s", err, left)
		}
		if err := os.Remove(filepath.Join(dir, left)); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, openTest(t, dir, Options{}))
}
