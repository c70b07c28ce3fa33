package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"example.com/bus"
	"example.com/bus/immuta/faultfs"
)

// removing is a life in which events are deleted and compacted. What is in the i-th
// event is said by secret(i).
type removing struct {
	durability string
	answered   map[uint64]bus.Event
	asked      []uint64 // to be deleted
	deleted    []uint64 // and that was answered
}

func secret(i int) string { return fmt.Sprintf("s3cret-%d-0f-0ne", i) }

func (r *removing) options(t *testing.T, f *faultfs.FS) Options {
	o := powerOptions(t, f, r.durability)
	o.closeAt = 1
	return o
}

// run lives: three processes, the last of which never closes its engine.
func (r *removing) run(t *testing.T, f *faultfs.FS) {
	r.answered = make(map[uint64]bus.Event)
	for process := range 3 {
		e, err := Open("data", r.options(t, f))
		if err != nil {
			return
		}
		for i := range 4 {
			r.append(e, 10*process+2*i)
		}
		compactLeft(e)
		r.delete(e, uint64(8*process+1), uint64(8*process+3))
		r.append(e, 10*process+8)
		compactLeft(e)
		r.delete(e, uint64(8*process+10))
		if process == 2 {
			f.CutAfter(0)
		}
		e.Close() // fails when the power is gone
	}
}

// compactLeft compacts until there is nothing more to do, or the power is gone.
func compactLeft(e *Engine) {
	for more, err := true, error(nil); more && err == nil; {
		more, err = e.log("orders").compact(context.Background())
	}
}

// append stores two events, one of them with an id of its own, and one whose subject
// comes again.
func (r *removing) append(e *Engine, i int) {
	events := []bus.Event{
		{Subject: "orders." + secret(i), Id: "id-" + secret(i), Key: secret(i), TraceId: secret(i), Payload: fmt.Appendf(nil, "%q", secret(i))},
		{Subject: fmt.Sprintf("orders.s%d", i%3), Payload: fmt.Appendf(nil, "%q", secret(i+1)), Headers: map[string]string{"h": secret(i + 1)}},
	}
	if e.Append(context.Background(), "orders", events) == nil {
		for _, ev := range events {
			r.answered[ev.Index] = ev
		}
	}
}

func (r *removing) delete(e *Engine, indexes ...uint64) {
	r.asked = append(r.asked, indexes...)
	if _, _, err := e.Delete(context.Background(), "orders", indexes); err == nil {
		r.deleted = append(r.deleted, indexes...)
	}
}

// check opens what is left, twice.
func (r *removing) check(t *testing.T, f *faultfs.FS) {
	t.Helper()
	for range 2 {
		e := openTest(t, "data", r.options(t, f))
		if problem := e.Inspect("orders").Problem; problem != "" {
			t.Fatalf("got the problem %s", problem)
		}
		r.checkGone(t, f)
		there, newest := r.read(t, e)
		last := make(map[string]uint64)
		for index, ev := range r.answered {
			if !slices.Contains(r.asked, index) {
				last[ev.Subject] = max(last[ev.Subject], index)
			}
		}
		for subject, index := range last {
			if r.durability == "always" && there[index] != "" {
				t.Fatalf("event %d, the newest of %s: %s", index, subject, there[index])
			}
		}
		for index, why := range there { // in no mode a newer one is needless before it is safe
			if ev := r.answered[index]; why == bus.RemovedCompacted && newest[ev.Subject] <= index && !r.askedFor(ev.Subject, index) {
				t.Fatalf("event %d was compacted, and the newest of %s is %d", index, ev.Subject, newest[ev.Subject])
			}
		}
		r.delete(e, r.deleted...) // which were there, or other indexes, and may go
		mustClose(t, e)
	}
}

// askedFor reports whether somebody has asked for a newer event of a subject to be
// deleted.
func (r *removing) askedFor(subject string, index uint64) bool {
	return slices.ContainsFunc(r.asked, func(other uint64) bool { return other > index && r.answered[other].Subject == subject })
}

// checkGone looks for what was deleted in every file.
func (r *removing) checkGone(t *testing.T, f *faultfs.FS) {
	t.Helper()
	for _, index := range r.deleted {
		ev, ok := r.answered[index]
		if !ok {
			continue
		}
		for _, name := range f.Names() {
			if data, _ := f.ReadFile(name); bytes.Contains(data, ev.Payload[1:len(ev.Payload)-1]) {
				t.Fatalf("event %d was deleted, and is in %s", index, name)
			}
		}
	}
}

// read reads the log, and returns why events are not there, "" for those that are,
// which must be as they were stored, and the newest of each subject.
func (r *removing) read(t *testing.T, e *Engine) (why map[uint64]string, newest map[string]uint64) {
	t.Helper()
	why, newest = make(map[uint64]string), make(map[string]uint64)
	for index := range r.answered {
		why[index] = "it is not there"
	}
	reader := e.Reader("orders", 1)
	defer reader.Close()
	for {
		events, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return why, newest
		}
		if removed, ok := bus.AsRemoved(err); ok {
			for index := removed.From; index < removed.Next; index++ {
				if why[index] = removed.Reason; removed.Reason == bus.RemovedDeleted && !slices.Contains(r.asked, index) {
					t.Fatalf("event %d is deleted, and nobody has asked for it", index)
				}
			}
			reader.Seek(removed.Next)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range events {
			newest[ev.Subject] = ev.Index
			want, ok := r.answered[ev.Index]
			if why[ev.Index] = ""; ok && (ev.Id != want.Id || !bytes.Equal(ev.Payload, want.Payload)) && r.durability == "always" {
				t.Fatalf("got %+v, want %+v", ev, want)
			}
			if slices.Contains(r.deleted, ev.Index) && r.durability == "always" {
				t.Fatalf("event %d was deleted, and is there", ev.Index)
			}
		}
	}
}

// TestWhatWasDeletedIsInNoFileWhateverThePowerDoesAndTheNewestOfASubjectAlwaysIs cuts
// the power behind each call of the disk: a deletion that was answered stays so, one
// that was not leaves its event whole or takes it away.
func TestWhatWasDeletedIsInNoFileWhateverThePowerDoesAndTheNewestOfASubjectAlwaysIs(t *testing.T) {
	for _, durability := range []string{"always", "os"} {
		whole := faultfs.New()
		life := removing{durability: durability}
		life.run(t, whole)
		if len(life.deleted) != 9 || len(life.answered) != 30 {
			t.Fatalf("got %d deleted of %d, want 9 of 30", len(life.deleted), len(life.answered))
		}
		for n := 0; n < whole.Calls()+1; n += 1 + n%3 {
			f := faultfs.New()
			f.CutAfter(n + 1)
			life := removing{durability: durability}
			life.run(t, f)
			for seed, keep := range []faultfs.Keep{faultfs.None, faultfs.All, faultfs.Random} {
				after := f.After(keep, rand.New(rand.NewPCG(uint64(n), uint64(seed))))
				of := removing{durability: durability, answered: life.answered, asked: slices.Clone(life.asked), deleted: slices.Clone(life.deleted)}
				t.Run(fmt.Sprintf("%s/%d/%v", durability, n, keep), func(t *testing.T) { of.check(t, after) })
			}
		}
	}
}
