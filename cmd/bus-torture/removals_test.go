package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// page is a book with some parcels, and what a look at them finds.
type page struct {
	*book
	*look
	began time.Time
}

// newPage has three answered events of a and of b: one of load, one that was put off
// and delivered at 9, and one that waits for an hour. All was read a second ago.
func newPage() *page {
	began := time.Now()
	p := &page{book: newBook(), began: began}
	p.look = &look{since: began, due: began, began: began, ended: began.Add(time.Second), all: make(map[string][]event), waiting: make(map[string][]event)}
	for _, namespace := range []string{"a", "b"} {
		p.publish(namespace, "load", 1, nil)
		p.publish(namespace, "late", 2, func(o *parcel) {
			o.Delay, o.Due = time.Second, began.Add(-time.Minute).Round(0)
			o.Place, o.Placed = 9, began.Add(-time.Second)
		})
		p.publish(namespace, "waits", 3, func(o *parcel) { o.Delay, o.Due = time.Hour, began.Add(time.Hour).Round(0) })
	}
	return p
}

// publish adds an event that was answered an hour ago, and where it is to be found.
func (p *page) publish(namespace, name string, index uint64, more func(*parcel)) *parcel {
	token := fmt.Sprintf("tok-%s-%s", namespace, name)
	o := &parcel{Token: token, Namespace: namespace, Subject: namespace + "." + name, Payload: fmt.Sprintf(`{"t":%q}`, token),
		Sent: p.began.Add(-2 * time.Hour), Answered: p.began.Add(-time.Hour), ID: "id-" + name, Index: index}
	if more != nil {
		more(o)
	}
	p.parcels[token] = o
	e := event{Id: o.ID, Subject: o.Subject, Index: index, Payload: json.RawMessage(o.Payload), DeliveredIndex: o.Place, DeliverAt: o.Due, ExpiresAt: o.ExpiresAt}
	if o.waits(p.began) {
		p.waiting[namespace] = append(p.waiting[namespace], e)
		return o
	}
	p.all[namespace] = append(p.all[namespace], e)
	if compacting[namespace] {
		p.newest = append(p.newest, e)
	}
	return o
}

func (p *page) of(token string) *parcel { return p.parcels["tok-"+token] }

// drop takes an event out of what was read.
func (p *page) drop(token string) {
	without := func(all []event) (kept []event) {
		for _, e := range all {
			if p.book.of(e) != p.of(token) {
				kept = append(kept, e)
			}
		}
		return kept
	}
	for _, of := range []map[string][]event{p.all, p.waiting} {
		for namespace := range of {
			of[namespace] = without(of[namespace])
		}
	}
	p.newest = without(p.newest)
}

// wantTold wants a fault that says so, or none for "".
func wantTold(t *testing.T, b *book, want string) {
	t.Helper()
	err := b.judged()
	if want == "" && err != nil {
		t.Errorf("got %v, want nothing", err)
	}
	if want != "" && (!errors.Is(err, errFault) || len(b.faults) != 1 || !strings.Contains(fmt.Sprint(err), want)) {
		t.Errorf("got %v, want one fault with %q", err, want)
	}
}

func TestEachThingThatIsNotThereAsItShouldBeIsTold(t *testing.T) {
	lost := uint64(1)
	for name, c := range map[string]struct {
		change func(*page)
		want   string // "": nothing
	}{
		"all is there":       {change: func(*page) {}},
		"lost":               {change: func(p *page) { p.drop("a-load") }, want: "nobody has deleted it, and it is gone"},
		"delivered and gone": {change: func(p *page) { p.drop("a-late") }, want: "it is gone"},
		"waiting, and lost":  {change: func(p *page) { p.drop("a-waits") }, want: "it is gone"},
		"waiting, and compacted": {change: func(p *page) {
			p.drop("b-waits")
			p.publish("b", "newer", 10, func(o *parcel) { o.Subject = "b.waits" })
		}, want: "it is gone"},
		"never delivered": {change: func(p *page) { p.of("a-late").Place = 0; p.drop("a-late") }, want: "it is gone"},
		"due in the middle of it": {change: func(p *page) {
			p.of("a-late").Place, p.look.due = 0, time.Time{}
			p.drop("a-late")
		}},
		"the newest was compacted": {change: func(p *page) {
			p.drop("b-load")
			p.newest = append(p.newest, event{Payload: json.RawMessage(`{"t":"tok-b-load"}`)})
		}, want: "it is gone"},
		"an older one was compacted": {change: func(p *page) {
			p.drop("b-load")
			p.publish("b", "newer", 10, func(o *parcel) { o.Subject = "b.load" })
		}},
		"one in front of what waits was compacted": {change: func(p *page) {
			p.drop("b-load")
			p.newest = append(p.newest, event{Payload: json.RawMessage(`{"t":"tok-b-load"}`)})
			p.publish("b", "newer", 4, func(o *parcel) {
				o.Subject, o.Delay, o.Due = "b.load", time.Hour, p.began.Add(time.Hour).Round(0)
			})
		}, want: "it is gone"},
		"not among the newest":     {change: func(p *page) { p.newest = p.newest[1:] }, want: "start=last does not have it"},
		"its time was over":        {change: func(p *page) { p.of("a-load").ExpiresAt = p.began; p.drop("a-load") }},
		"deleted":                  {change: func(p *page) { p.of("a-load").Asked, p.of("a-load").Gone = p.began, p.began; p.drop("a-load") }},
		"deleted, not answered":    {change: func(p *page) { p.of("a-late").Asked = p.began; p.drop("a-late") }},
		"deleted, and waits":       {change: func(p *page) { p.of("a-waits").Asked, p.of("a-waits").Gone = p.began.Add(-2), p.began.Add(-1) }, want: "waits at a 3"},
		"delivered, and waits":     {change: func(p *page) { p.waiting["a"] = append(p.waiting["a"], p.all["a"][1]) }, want: "waits at a 2, and was delivered at 9"},
		"out of order":             {change: func(p *page) { p.all["a"][0], p.all["a"][1] = p.all["a"][1], p.all["a"][0] }, want: "stands at 1 of a, behind 9"},
		"a gap that nobody wanted": {change: func(p *page) { p.book.gap("a", []byte(`{"reason":"deleted","resumed_index":10,"lost":1}`)) }, want: "stands at a 9, which is said to be deleted"},
		"a gap that was asked for": {change: func(p *page) { p.of("a-late").Asked = p.began; p.judgeGap("a", gapTold{"deleted", 10, &lost}) }},
		"a gap by damage":          {change: func(p *page) { p.judgeGap("a", gapTold{"damage", 10, &lost}) }, want: "damage"},
		"answered at another place": {change: func(p *page) {
			p.book.answer(p.of("a-load"), stored{ID: "id-load", Index: 4})
		}, want: "was answered as id-load at 4, and is id-load at 1"},
		"to be delivered too early": {change: func(p *page) {
			p.of("a-waits").Answered = time.Time{}
			p.book.answer(p.of("a-waits"), stored{ID: "id-waits", Index: 3, DeliverAt: p.began.Add(-90 * time.Minute)})
		}, want: "to be delivered in 1h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPage()
			c.change(p)
			p.book.judge(p.look)
			wantTold(t, p.book, c.want)
		})
	}
}

func TestEachDeliveryThatShouldNotBeIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*page, *witness, *event) // of the event that was delivered at 9
		want   string
	}{
		"as it should be":                    {change: func(*page, *witness, *event) {}},
		"to a consumer again":                {change: func(p *page, w *witness, e *event) { w.repeat = true; p.see(w, *e) }},
		"twice":                              {change: func(p *page, w *witness, e *event) { p.see(w, *e) }, want: "delivered twice"},
		"at two places":                      {change: func(_ *page, _ *witness, e *event) { e.DeliveredIndex = 10 }, want: "delivered at 9 before"},
		"where it waits":                     {change: func(p *page, _ *witness, e *event) { p.of("a-late").Place, e.DeliveredIndex = 0, 0 }, want: "put off at 2"},
		"early":                              {change: func(_ *page, _ *witness, e *event) { e.DeliverAt = time.Now().Add(time.Hour) }, want: "before it is due"},
		"early by what its publisher wanted": {change: func(p *page, _ *witness, _ *event) { p.of("a-late").Delay = 3 * time.Hour }, want: "before it is due"},
		"deleted before it was asked for":    {change: func(p *page, w *witness, _ *event) { p.of("a-late").Gone = w.from.Add(-1) }, want: deletedBefore},
		"deleted while it was under way":     {change: func(p *page, w *witness, _ *event) { p.of("a-late").Gone = w.from.Add(1) }},
		"deleted before what came in front of it": {change: func(p *page, w *witness, _ *event) {
			p.of("a-late").Gone = w.from.Add(1)
			p.of("a-load").Sent = w.from.Add(2)
			p.see(w, p.all["a"][0])
		}, want: deletedBefore},
		"over": {change: func(_ *page, w *witness, e *event) { e.ExpiresAt = w.from.Add(-1) }, want: "after its time"},
		"over by its answer": {change: func(p *page, _ *witness, e *event) {
			p.of("a-late").TTL, e.ExpiresAt = time.Second, e.DeliverAt.Add(time.Hour)
		}, want: "after its time"},
		"over while under way": {change: func(_ *page, w *witness, e *event) { e.ExpiresAt = w.from.Add(1) }},
		"another payload":      {change: func(_ *page, _ *witness, e *event) { e.Payload = json.RawMessage(`{"t":"tok-a-late","x":1}`) }, want: "which is not what"},
		"from nobody":          {change: func(_ *page, _ *witness, e *event) { e.Payload = json.RawMessage(`{"t":"tok"}`) }, want: "which nobody sent"},
		"of another namespace": {change: func(_ *page, w *witness, _ *event) { w.namespace = "b" }, want: "which nobody sent"},
		"under another id":     {change: func(_ *page, _ *witness, e *event) { e.Id = "other" }, want: "was answered id-late at 2"},
		"without its times":    {change: func(_ *page, _ *witness, e *event) { e.DeliverAt = time.Time{} }, want: "without its times"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPage()
			w, e := newWitness("a"), p.all["a"][1]
			c.change(p, w, &e)
			p.see(w, e)
			wantTold(t, p.book, c.want)
		})
	}
}

func TestTokensOfWhatWasDeletedAreFoundInAnyFileAndOthersMissed(t *testing.T) {
	dir := t.TempDir()
	token := func(n int) string { return fmt.Sprintf("tok-%016x", n) }
	if err := os.Mkdir(filepath.Join(dir, "derived"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"a.log": "\x00" + token(1) + "\xff" + token(2), "derived/a.log.tmp": token(3), "a.torn-1": token(4)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found, err := tokensIn(dir)
	if want := (map[string]string{token(1): "a.log", token(2): "a.log", token(3): "a.log.tmp"}); err != nil || fmt.Sprint(found) != fmt.Sprint(want) {
		t.Fatalf("got %v and %v, want %v", found, err, want)
	}
	for name, c := range map[string]struct {
		change func(*page)
		found  []string
		sealed bool
		want   string
	}{
		"all is there":      {found: []string{"a-load", "a-late", "a-waits", "b-load", "b-late", "b-waits"}},
		"one is missed":     {found: []string{"a-load", "a-waits", "b-load", "b-late", "b-waits"}, want: "is in no file"},
		"deleted and there": {change: func(p *page) { p.of("a-load").Asked, p.of("a-load").Gone = p.began, p.began }, found: []string{"a-load", "a-late", "a-waits", "b-load", "b-late", "b-waits"}, want: "is in a.log after its deletion was answered"},
		"sealed":            {sealed: true},
		"in the clear":      {sealed: true, found: []string{"a-load"}, want: "in the clear"},
	} {
		t.Run(name, func(t *testing.T) {
			p, found := newPage(), make(map[string]string)
			if c.change != nil {
				c.change(p)
			}
			for _, token := range c.found {
				found["tok-"+token] = "a.log"
			}
			p.judgeFiles(found, c.sealed, p.began)
			wantTold(t, p.book, c.want)
		})
	}
}

func TestOneEventThatIsReadIsHeldAgainstWhatIsKnown(t *testing.T) {
	good := one{200, stored{ID: "id-load", Index: 1}, json.RawMessage(`{"t":"tok-a-load"}`)}
	deleted, removed, unknown := one{status: 410, stored: stored{Code: "event_deleted"}}, one{status: 410, stored: stored{Code: "event_removed"}}, one{status: 404, stored: stored{Code: "unknown_event"}}
	for name, c := range map[string]struct {
		token, name string
		asked       bool
		lacks       bool // somebody was told that it is deleted
		gone        bool
		got         one
		wrong       bool
	}{
		"there":                   {token: "a-load", name: "1", got: good},
		"another":                 {token: "a-load", name: "1", got: one{200, stored{ID: "id-load", Index: 2}, good.Payload}, wrong: true},
		"said to be deleted":      {token: "a-load", name: "1", got: deleted, wrong: true},
		"removed where all stays": {token: "a-load", name: "1", got: removed, wrong: true},
		"unknown":                 {token: "a-load", name: "1", got: unknown, wrong: true},
		"the newest, removed":     {token: "b-load", name: "1", got: removed, wrong: true},
		"delivered, compacted":    {token: "b-late", name: "2", got: removed},
		"deleted":                 {token: "a-load", name: "1", gone: true, got: deleted},
		"deleted, its id unknown": {token: "a-load", name: "id-load", gone: true, got: unknown},
		"deleted, read":           {token: "a-load", name: "1", gone: true, got: good, wrong: true},
		"deleted, index unknown":  {token: "a-load", name: "1", gone: true, got: unknown, wrong: true},
		"being deleted, there":    {token: "a-load", name: "1", asked: true, got: good},
		"being deleted, gone":     {token: "a-load", name: "1", asked: true, lacks: true, got: deleted},
		"being deleted, back":     {token: "a-load", name: "1", asked: true, lacks: true, got: good, wrong: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPage()
			if c.asked {
				p.of(c.token).Asked = p.began.Add(-2)
			}
			if c.lacks {
				p.of(c.token).Lacks = p.began.Add(-1)
			}
			if c.gone {
				p.of(c.token).Asked, p.of(c.token).Gone = p.began.Add(-2), p.began.Add(-1)
			}
			p.judgeOne(p.of(c.token), c.name, c.got, p.began, p.began)
			if err := p.judged(); (err != nil) != c.wrong {
				t.Errorf("got %v, want a fault: %t", err, c.wrong)
			}
		})
	}
}
