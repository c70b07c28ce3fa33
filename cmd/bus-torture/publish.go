package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// publishers is how many send at the same time.
const publishers = 8

// kinds are the ways to publish. Each is taken with and without keys.
const (
	single = iota
	batch
	stream
	kinds
)

// publisher sends one request after the other until its context ends. What has
// a key is sent again until it is answered, as a careful client does; what has
// none is sent once and stays unanswered when the answer does not come.
type publisher struct {
	number  int
	kind    int
	keyed   bool
	url     string
	http    *http.Client
	journal *journal
	rand    *rand.Rand
}

// crowd is the load of one life of a server.
type crowd struct {
	running sync.WaitGroup
	stop    context.CancelFunc
	http    *http.Client
}

// newCrowd begins to publish. name keeps the events of several crowds on one
// journal apart.
func newCrowd(ctx context.Context, name, url string, j *journal, r *rand.Rand) *crowd {
	ctx, stop := context.WithCancel(ctx)
	c := &crowd{stop: stop, http: newHTTP()}
	for n := range publishers {
		p := &publisher{number: n, kind: n % kinds, keyed: n >= publishers/2, url: url, http: c.http, journal: j,
			rand: rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))}
		c.running.Go(func() { p.run(ctx, name) })
	}
	return c
}

// end returns when nobody sends any more.
func (c *crowd) end() error {
	c.stop()
	c.running.Wait()
	c.http.CloseIdleConnections()
	return nil
}

// newHTTP never lets a request hang for ever, and takes no proxy.
func newHTTP() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: publishers * 2}, Timeout: patience}
}

func (p *publisher) run(ctx context.Context, crowd string) {
	for n := 0; ctx.Err() == nil; n++ {
		all := p.draw(fmt.Sprintf("%s-p%d-%d", crowd, p.number, n))
		p.journal.begin(p.kind == batch, all)
		for len(all) > 0 && ctx.Err() == nil {
			p.send(ctx, all)
			if !p.keyed {
				break
			}
			all = p.rest(all)
			if len(all) > 0 {
				pause(ctx, 5*time.Millisecond) // the server is being started again
			}
		}
		// Some thousand events a second are enough, and the rest of the time is
		// for reading them all back.
		pause(ctx, time.Duration(p.rand.Int64N(int64(6*time.Millisecond))))
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// draw makes the events of one request.
func (p *publisher) draw(name string) []*entry {
	size := 1
	switch p.kind {
	case batch:
		size = 1 + p.rand.IntN(8)
	case stream:
		size = 1 + p.rand.IntN(15)
	}
	namespace := namespaces[p.rand.IntN(len(namespaces))]
	all := make([]*entry, size)
	for i := range all {
		if p.kind == stream { // may mix them, a batch may not
			namespace = namespaces[p.rand.IntN(len(namespaces))]
		}
		all[i] = &entry{Name: fmt.Sprintf("%s-%d", name, i), Namespace: namespace, Keyed: p.keyed}
	}
	return all
}

// rest is what has to be sent again. A batch is answered as one.
func (p *publisher) rest(all []*entry) []*entry {
	for i, e := range all {
		if !p.journal.answered(e) {
			return all[i:]
		}
	}
	return nil
}

// send makes one attempt. It does not end with ctx: what has been sent is
// waited for, so that the journal knows as much as can be known.
func (p *publisher) send(ctx context.Context, all []*entry) {
	ctx = context.WithoutCancel(ctx)
	p.journal.again(all)
	switch p.kind {
	case batch:
		var items []string
		for _, e := range all {
			items = append(items, document(e))
		}
		p.post(ctx, "", strings.NewReader("["+strings.Join(items, ",")+"]"), "application/json", all)
	case stream:
		p.post(ctx, "", lines(all), "application/x-ndjson", all)
	default:
		e := all[0]
		if p.rand.IntN(2) == 0 {
			p.post(ctx, "", strings.NewReader(document(e)), "application/json", all)
			return
		}
		query := url.Values{"subject": {subject(e)}}
		if e.Keyed {
			query.Set("key", e.Name)
		}
		p.post(ctx, query.Encode(), strings.NewReader(payload(e.Name)), "application/json", all)
	}
}

func subject(e *entry) string { return e.Namespace + ".load" }

// document is an event as it stands in a body.
func document(e *entry) string {
	key := ""
	if e.Keyed {
		key = fmt.Sprintf(`,"key":%q`, e.Name)
	}
	return fmt.Sprintf(`{"subject":%q,"payload":%s%s}`, subject(e), payload(e.Name), key)
}

// lines sends each event by itself, so that the server gets to commit some
// before it has all.
func lines(all []*entry) io.Reader {
	r, w := io.Pipe()
	go func() {
		for _, e := range all {
			if _, err := io.WriteString(w, document(e)+"\n"); err != nil {
				return // the request has failed, which its sender sees
			}
		}
		w.Close()
	}()
	return r
}

// post sends a body and notes each receipt as it arrives.
func (p *publisher) post(ctx context.Context, query string, body io.Reader, media string, all []*entry) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/?"+query, body)
	if err != nil {
		p.journal.mistake("%v", err)
		return
	}
	r.Header.Set("Content-Type", media)
	resp, err := p.http.Do(r)
	if err != nil {
		return // not answered
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		var problem receipt
		json.Unmarshal(text, &problem) // a text that is none says nothing
		p.journal.refuse(problem)
		if resp.StatusCode < 500 {
			p.journal.mistake("%s: got %s: %s", all[0].Name, resp.Status, bytes.TrimSpace(text))
		}
		return
	}
	p.receipts(json.NewDecoder(resp.Body), all)
}

// receipts takes one object, an array of them, or a line each. The answer to a
// batch counts only when all of it has arrived.
func (p *publisher) receipts(d *json.Decoder, all []*entry) {
	if p.kind == batch {
		var list []receipt
		if d.Decode(&list) != nil {
			return
		}
		if len(list) != len(all) {
			p.journal.mistake("%s: got %d receipts, want %d", all[0].Name, len(list), len(all))
			return
		}
		for i, r := range list {
			p.journal.answer(all[i], r)
		}
		return
	}
	for _, e := range all {
		var r receipt
		if d.Decode(&r) != nil || r.Code != "" {
			p.journal.refuse(r)
			return // the stream was cut, or the server says why it ends
		}
		p.journal.answer(e, r)
	}
}
