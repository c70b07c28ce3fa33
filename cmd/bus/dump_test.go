package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"example.com/bus"
)

func dumpOf(t testing.TB, events ...bus.Event) []byte {
	t.Helper()
	var b bytes.Buffer
	d, err := newDumpWriter(&b, []string{"app", "orders"}, time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.add(events), d.finish()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readDump(data []byte) (events []bus.Event, err error) {
	d, err := newDumpReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	for {
		e, err := d.event()
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			return events, err
		}
		events = append(events, e)
	}
}

func someEvents() []bus.Event {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	return []bus.Event{
		{Id: "e_1", Subject: "app.one", Index: 1, CreatedAt: at, TraceId: "t", Key: "k", ResponseSubject: "app.reply", Headers: map[string]string{"b": "<\"é\">", "a": "1"}, Payload: []byte(`{"a":"<\n>"}`)},
		{Id: "e_2", Subject: "app.two", Index: 2, CreatedAt: at, ContentType: "image/png", Payload: []byte{0, 255, '\n'}},
		{Id: "own.id-3", Subject: "orders.new", Index: 1, CreatedAt: at},
	}
}

func TestDumpKeepsEveryFieldOfAnEvent(t *testing.T) {
	want := someEvents()
	got, err := readDump(dumpOf(t, want...))
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		want[i].Index = 0 // it is given anew
		if g, w := fmt.Sprintf("%+v", got[i]), fmt.Sprintf("%+v", want[i]); g != w {
			t.Errorf("event %d: got %s, want %s", i, g, w)
		}
	}
}

func TestDumpCutAnywhereIsRefused(t *testing.T) {
	whole := dumpOf(t, someEvents()...)
	for n := range whole {
		if _, err := readDump(whole[:n]); exitCode(err) != exitDamage {
			t.Errorf("cut to %d of %d bytes: got %v, want it refused as damage", n, len(whole), err)
		}
	}
}

func TestDumpWithOneByteChangedIsRefused(t *testing.T) {
	whole := dumpOf(t, someEvents()...)
	for i := range whole {
		changed := bytes.Clone(whole)
		changed[i] ^= 1
		if _, err := readDump(changed); err == nil && !bytes.Equal(dumpLines(changed), dumpLines(whole)) {
			t.Errorf("byte %d changed: got it accepted, want it refused", i)
		}
	}
}

// dumpLines are all but the last, which no checksum covers but its own fields.
func dumpLines(data []byte) []byte {
	return data[:bytes.LastIndexByte(data[:len(data)-1], '\n')]
}

func TestDumpLineIsBoundedBeforeItIsHeld(t *testing.T) {
	endless := io.MultiReader(strings.NewReader(`{"bus_dump":1,"namespaces":["`), zeros{})
	_, err := newDumpReader(endless)
	if got, want := fmt.Sprint(err), "more than 1048576 bytes"; !strings.Contains(got, want) {
		t.Errorf("got %v, want %s", got, want)
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

func TestDumpRefusalNamesTheLine(t *testing.T) {
	head := `{"bus_dump":1,"namespaces":["app"]}` + "\n"
	for name, c := range map[string]struct{ dump, want string }{
		"twice the same namespace": {`{"bus_dump":1,"namespaces":["app","app"]}` + "\n", "line 1: a namespace stands twice"},
		"a path as namespace":      {`{"bus_dump":1,"namespaces":["../x"]}` + "\n", "line 1: "},
		"unknown field":            {`{"bus_dump":1,"namespaces":["app"],"x":1}` + "\n", "line 1: it cannot be read"},
		"inbox":                    {head + `{"id":"a","subject":"_bus_.x","payload":1}` + "\n", `line 2: subject "_bus_.x" is of no namespace`},
		"no id":                    {head + `{"subject":"app.x","payload":1}` + "\n", "line 2: the event has no id"},
		"no JSON":                  {head + "\n\n", "line 2: "},
		"after the end":            {string(dumpOf(t)) + "x\n", "line 3: something stands after"},
	} {
		_, err := readDump([]byte(c.dump))
		if got := fmt.Sprint(err); !strings.Contains(got, c.want) {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

// Whatever is in a file: it is refused, or what was read from it makes a dump
// that says the same.
func FuzzDump(f *testing.F) {
	whole := dumpOf(f, someEvents()...)
	f.Add(whole)
	f.Add(dumpOf(f))
	f.Add(whole[:len(whole)/2])
	f.Add([]byte(`{"bus_dump":1,"namespaces":["_bus_"]}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		events, err := readDump(data)
		if err != nil {
			return
		}
		for i := range events {
			if err := events[i].Check(); err != nil {
				t.Fatalf("event %d was taken: %v", i, err)
			}
		}
		var b bytes.Buffer
		d, _ := newDumpReader(bytes.NewReader(data))
		w, err := newDumpWriter(&b, d.header.Namespaces, time.Time{})
		if err = errors.Join(err, w.add(events), w.finish()); err != nil {
			t.Fatal(err)
		}
		again, err := readDump(b.Bytes())
		if got, want := fmt.Sprintf("%+v", again), fmt.Sprintf("%+v", events); err != nil || got != want {
			t.Fatalf("got %s and %v, want %s", got, err, want)
		}
	})
}
