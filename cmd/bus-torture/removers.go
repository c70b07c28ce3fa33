package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	removalPublishers = 2  // of each namespace
	removalSubjects   = 30 // of each compacting namespace
)

// remover is one client of the check removals: it publishes, deletes or reads in one
// namespace, over all kills.
type remover struct {
	url       string
	http      *http.Client
	book      *book
	rand      *rand.Rand
	namespace string
	slow      bool // what was answered may not be readable yet
}

// removers are all clients of a life.
type removers struct {
	running sync.WaitGroup
	stop    context.CancelFunc
	http    *http.Client
}

func (c *clearing) hands(ctx context.Context) *removers {
	ctx, stop := context.WithCancel(ctx)
	all := &removers{stop: stop, http: newHTTP()}
	for _, namespace := range removalNamespaces {
		roles := []func(*remover, context.Context){(*remover).delete, (*remover).watch}
		for range removalPublishers {
			roles = append(roles, (*remover).publish)
		}
		if !compacting[namespace] {
			roles = append(roles, (*remover).work)
		}
		for _, role := range roles {
			r := &remover{url: c.server.url(), http: all.http, book: c.book, namespace: namespace, slow: c.interval(),
				rand: rand.New(rand.NewPCG(c.rand.Uint64(), c.rand.Uint64()))}
			all.running.Go(func() { role(r, ctx) })
		}
	}
	return all
}

func (r *removers) end() {
	r.stop()
	r.running.Wait()
	r.http.CloseIdleConnections()
}

func (r *remover) publish(ctx context.Context) {
	for ctx.Err() == nil {
		all := make([]*parcel, 1+max(0, r.rand.IntN(8)-4))
		keyed := r.rand.IntN(4) > 0
		for i := range all {
			all[i] = r.parcel(keyed)
		}
		body := r.body(all)
		r.book.send(all)
		for !r.post(ctx, all, body) && keyed && ctx.Err() == nil {
			pause(ctx, 5*time.Millisecond)
		}
		pause(ctx, time.Duration(r.rand.Int64N(int64(30*time.Millisecond))))
	}
}

// parcel draws an event. In its payload the token stands several times: the sums of
// a block can part one of them.
func (r *remover) parcel(keyed bool) *parcel {
	token := fmt.Sprintf("tok-%016x", r.rand.Uint64())
	pad := r.rand.IntN(300)
	if r.rand.IntN(20) == 0 {
		pad *= 20
	}
	p := &parcel{Token: token, Namespace: r.namespace, Keyed: keyed,
		Payload: fmt.Sprintf(`{"t":%q,"more":"%s %s","pad":"%s"}`, token, token, token, strings.Repeat("x", pad))}
	switch n := r.rand.IntN(3); {
	case compacting[r.namespace]:
		p.Subject = fmt.Sprintf("%s.s%d", r.namespace, r.rand.IntN(removalSubjects))
	case n == 0:
		p.Subject = r.namespace + ".t." + token
	default:
		p.Subject = r.namespace + ".load"
	}
	far := r.rand.IntN(12) == 0
	switch n := r.rand.IntN(10); {
	case n < 3:
		p.Delay = time.Duration(1+r.rand.IntN(1500)) * time.Millisecond
		if far {
			p.Delay = time.Hour
		}
	case n == 3:
		p.DeliverAt = time.Now().UTC().Add(time.Duration(r.rand.IntN(1500)) * time.Millisecond).Round(0)
	}
	switch n := r.rand.IntN(10); {
	case n < 2:
		p.TTL = time.Duration(1+r.rand.IntN(3000)) * time.Millisecond
		if far {
			p.TTL = time.Hour
		}
	case n == 2 && p.Delay == 0 && p.DeliverAt.IsZero():
		p.ExpiresAt = time.Now().UTC().Add(time.Duration(r.rand.IntN(3000)-500) * time.Millisecond).Round(0)
	}
	return p
}

// body is the request of some events. What else of an event may have the token is
// drawn here.
func (r *remover) body(all []*parcel) string {
	var items []map[string]any
	for _, p := range all {
		e := map[string]any{"subject": p.Subject, "payload": json.RawMessage(p.Payload)}
		if p.Keyed {
			e["key"] = p.Token
		}
		if r.rand.IntN(4) == 0 {
			e["trace_id"], e["headers"] = p.Token, map[string]string{"token": p.Token}
		}
		if r.rand.IntN(8) == 0 {
			e["id"] = p.Token
		}
		for name, d := range map[string]time.Duration{"delay": p.Delay, "ttl": p.TTL} {
			if d > 0 {
				e[name] = d.String()
			}
		}
		for name, at := range map[string]time.Time{"deliver_at": p.DeliverAt, "expires_at": p.ExpiresAt} {
			if !at.IsZero() {
				e[name] = at.Format(time.RFC3339Nano)
			}
		}
		items = append(items, e)
	}
	text, _ := json.Marshal(items) // of these types it has no error
	if len(items) == 1 {
		return string(bytes.TrimSuffix(bytes.TrimPrefix(text, []byte("[")), []byte("]")))
	}
	return string(text)
}

// post reports whether the events were answered.
func (r *remover) post(ctx context.Context, all []*parcel, body string) bool {
	text, status, err := send(context.WithoutCancel(ctx), r.http, http.MethodPost, r.url+"/", body)
	var receipts []stored
	switch {
	case status == 0 || status == http.StatusServiceUnavailable || status == http.StatusInsufficientStorage:
		return false
	case err != nil && status == http.StatusAccepted:
		return false // cut off in the middle
	case status != http.StatusAccepted:
		r.book.fault("a publish of %s got %d: %s", all[0].Token, status, text)
		return true
	case len(all) == 1:
		receipts = make([]stored, 1)
		err = json.Unmarshal(text, &receipts[0])
	default:
		err = json.Unmarshal(text, &receipts)
	}
	if err != nil || len(receipts) != len(all) {
		r.book.fault("a publish of %d events, %s the first, was answered with %.200s", len(all), all[0].Token, text)
		return true
	}
	for i, p := range all {
		if receipts[i].Duplicate {
			receipts[i] = r.found(ctx, receipts[i])
		}
		r.book.answer(p, receipts[i])
	}
	return true
}

// found reads an event that an earlier attempt has stored, for its times.
func (r *remover) found(ctx context.Context, s stored) stored {
	text, status, err := send(context.WithoutCancel(ctx), r.http, http.MethodGet, r.url+"/v1/namespaces/"+r.namespace+"/events/"+s.ID, "")
	var e stored
	if err != nil || status != http.StatusOK || json.Unmarshal(text, &e) != nil {
		return s // the server was killed again, or it is not kept
	}
	return e
}

func (r *remover) delete(ctx context.Context) {
	for ctx.Err() == nil {
		if o, ok := r.book.doom(r.namespace, r.rand.IntN); ok && r.remove(ctx, o) && r.rand.IntN(8) == 0 {
			o.again, o.name = true, fmt.Sprint(o.p.Index)
			r.remove(ctx, o)
		}
		pause(ctx, time.Duration(r.rand.Int64N(int64(30*time.Millisecond))))
	}
}

// remove sends a deletion, and reports whether it was answered.
func (r *remover) remove(ctx context.Context, o order) bool {
	at := r.url + "/v1/namespaces/" + r.namespace + "/events/" + o.name
	gone := !r.book.goneBy(o.p).IsZero()
	text, status, err := send(context.WithoutCancel(ctx), r.http, http.MethodDelete, at, "")
	var s stored
	switch {
	case err != nil || status == http.StatusServiceUnavailable:
		return false
	case status == http.StatusNotFound && (r.slow || o.name == o.p.ID && r.book.mayBeRemoved(o.p)):
		return false // not readable yet, or an id that went with its event
	case status != http.StatusOK || json.Unmarshal(text, &s) != nil || !s.Deleted || s.Index != o.p.Index && fmt.Sprint(s.Index) != o.name && o.name != o.p.ID:
		r.book.fault("%s: deleting %s of %s got %d: %s", o.p.Token, o.name, r.namespace, status, text)
		return false
	case gone && !s.Already, s.Already && !o.again && !r.book.mayBeRemoved(o.p):
		r.book.fault("%s: deleting %s of %s, which was gone: %t, got already: %t", o.p.Token, o.name, r.namespace, gone, s.Already)
	}
	r.book.delete(o.p)
	return true
}

// watch reads all there is, or the newest of each subject, and what comes, again and
// again.
func (r *remover) watch(ctx context.Context) {
	for ctx.Err() == nil {
		query := url.Values{"subject": {r.namespace + ".>"}, "start": {"oldest"}}
		switch n := r.rand.IntN(3); {
		case n == 0 && compacting[r.namespace]:
			query.Set("start", "last")
		case n == 1:
			query.Del("start")
		}
		r.follow(ctx, query, newWitness(r.namespace), func(event) {})
	}
}

// follow reads for a while.
func (r *remover) follow(ctx context.Context, query url.Values, w *witness, each func(event)) {
	ctx, cut := context.WithTimeout(ctx, time.Duration(50+r.rand.IntN(800))*time.Millisecond)
	defer cut()
	follow(ctx, r.http, r.url, query, func(e event) error { // a look tells what is wrong with an answer
		switch {
		case e.Gap != nil:
			r.book.gap(r.namespace, e.Gap)
		case e.Problem == nil:
			r.book.see(w, e)
			each(e)
		}
		return nil
	})
	pause(ctx, 5*time.Millisecond)
}

// work is a connection of a named consumer, which acknowledges, refuses, gives up and
// forgets: of what it has, and of dead letters, deleting leaves nothing either.
func (r *remover) work(ctx context.Context) {
	query := url.Values{"subject": {r.namespace + ".>"}, "consumer": {"work"}}
	for ctx.Err() == nil {
		w := newWitness(r.namespace)
		w.repeat = true
		r.follow(ctx, query, w, func(e event) {
			verdict := []string{"ack", "ack", "ack", "nak", "term", ""}[r.rand.IntN(6)]
			if verdict == "" {
				return
			}
			said := url.Values{"consumer": {"work"}, "namespace": {r.namespace}, "event_id": {e.Id}, "verdict": {verdict}}
			text, status, err := send(ctx, r.http, http.MethodPut, r.url+"/?"+said.Encode(), "")
			switch {
			case err != nil || status == http.StatusAccepted || status == http.StatusNotFound || status == http.StatusGone || status == http.StatusServiceUnavailable:
			default:
				r.book.fault("%s of %s got %d: %s", verdict, e.Id, status, text)
			}
		})
	}
}
