package disk

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example.com/bus"
	"example.com/bus/immuta/faultfs"
)

func TestALogOfTheBusItselfIsMadeWhenItIsAskedForAndIsThereAgainLater(t *testing.T) {
	dir := t.TempDir()
	for round := uint64(1); round <= 3; round++ {
		e := openTest(t, dir, Options{Namespaces: []string{"orders"}})
		if is := e.Incarnation("_dead_") != 0; is != (round > 1) {
			t.Fatalf("round %d: the log is open: %v, want so when it is there", round, is)
		}
		for range 2 {
			if err := e.Keep("_dead_"); err != nil {
				t.Fatal(err)
			}
		}
		events := []bus.Event{{Subject: "_dead_.orders.billing", Payload: []byte("1")}}
		if err := e.Append(context.Background(), "_dead_", events); err != nil || events[0].Index != round {
			t.Fatalf("got index %d and %v, want %d", events[0].Index, err, round)
		}
		if got := e.Namespaces(); len(got) != 1 {
			t.Fatalf("got %v, want the declared one only", got)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if err := e.Keep("_other_"); !errors.Is(err, bus.ErrUnavailable) {
			t.Fatalf("after Close: got %v, want %v", err, bus.ErrUnavailable)
		}
	}
}

func TestALogOfTheBusItselfIsRefusedWhereItCannotBe(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{Namespaces: []string{"orders"}})
	defer e.Close()
	for _, name := range []string{"orders", "", "_../x", "_a.b", "_a b"} {
		if err := e.Keep(name); err == nil || !strings.Contains(err.Error(), "underscore") {
			t.Errorf("%q: got %v, want a refusal", name, err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "_dead_.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := e.Keep("_dead_"); err == nil || !strings.Contains(err.Error(), "a directory") {
		t.Errorf("got %v, want a refusal that names what is there", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "_consumers_.idx"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := e.Keep("_consumers_"); err == nil || !strings.Contains(err.Error(), "bring the log back") {
		t.Errorf("got %v, want a refusal to begin anew where a log is missing", err)
	}
	reader, err := Open(dir, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := reader.Keep("_none_"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading only: got %v, want %v", err, fs.ErrNotExist)
	}
}

func TestANamespaceIsDeclaredBesideTheOpenOnesAndRemovedWithAllThatWasMadeOfIt(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{})
	for range 2 {
		if err := e.Declare("mail", nil); err != nil {
			t.Fatal(err)
		}
	}
	mustAppend(t, e, bus.Event{Subject: "mail.sent", Id: "import-1", Payload: []byte("1")})
	if got := strings.Join(e.Namespaces(), " "); got != "mail orders" {
		t.Fatalf("got %s, want both", got)
	}
	for _, name := range []string{"Mail", "_mail", "a.b", ""} {
		if err := e.Declare(name, nil); !errors.Is(err, bus.ErrInvalidSubject) {
			t.Errorf("%q: got %v, want %v", name, err, bus.ErrInvalidSubject)
		}
	}
	r := e.Reader("mail", 1)
	defer r.Close()
	waiting := make(chan error, 1)
	go func() { waiting <- e.Wait(t.Context(), "mail", 2) }()
	if err := e.Remove("mail"); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err == nil {
		t.Error("a wait on what is removed ended well")
	}
	if _, err := r.Next(); err == nil {
		t.Error("a reader of what is removed goes on")
	}
	left, err := filepath.Glob(filepath.Join(dir, "*", "mail*"))
	if more, _ := filepath.Glob(filepath.Join(dir, "mail*")); err != nil || len(left)+len(more) > 0 {
		t.Errorf("got %v %v left, want nothing", left, more)
	}
	if err := e.Append(t.Context(), "mail", []bus.Event{{Subject: "mail.sent"}}); !errors.Is(err, bus.ErrUnknownNamespace) {
		t.Errorf("got %v, want %v", err, bus.ErrUnknownNamespace)
	}
	if err := e.Remove("mail"); err != nil {
		t.Errorf("a second call: %v", err)
	}
	if err := e.Declare("mail", nil); err != nil {
		t.Fatal(err)
	}
	if first, next := e.Bounds("mail"); first != 1 || next != 1 {
		t.Errorf("got %d to %d, want a new log", first, next)
	}
	mustClose(t, e)
	if err := e.Declare("late", nil); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("after Close: got %v, want %v", err, bus.ErrUnavailable)
	}
}

func TestAcknowledgementsAreTakenWhereEventsAreRefusedForWantOfRoom(t *testing.T) {
	e := openTest(t, t.TempDir(), Options{Namespaces: []string{"orders"}, MinFree: 1 << 20, free: func() (int64, error) { return 1 << 19, nil }})
	if err := e.Keep(bus.ConsumersNamespace); err != nil {
		t.Fatal(err)
	}
	for subject, want := range map[string]error{"orders.created": bus.ErrInsufficientSpace, "_consumers_.orders.billing": nil} {
		err := e.Append(context.Background(), bus.Namespace(subject), []bus.Event{{Subject: subject, Payload: []byte("1")}})
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", subject, err, want)
		}
	}
}

func TestALogOfTheBusItselfThatCannotBeMadeIsToldAsADiskThatFails(t *testing.T) {
	for _, c := range []struct{ failure, want error }{{syscall.ENOSPC, bus.ErrInsufficientSpace}, {syscall.EIO, bus.ErrStorage}} {
		files := faultfs.New()
		e := openTest(t, "data", Options{Namespaces: []string{"orders"}, FS: files})
		files.Inject(func(call faultfs.Call) error {
			if call.Op == "create" {
				return c.failure
			}
			return nil
		})
		if err := e.Keep(bus.DeadNamespace); !errors.Is(err, c.want) {
			t.Errorf("%v: got %v, want %v", c.failure, err, c.want)
		}
		files.Inject(nil)
		if err := e.Keep(bus.DeadNamespace); err != nil {
			t.Errorf("and then: got %v, want it to be made", err)
		}
	}
}
