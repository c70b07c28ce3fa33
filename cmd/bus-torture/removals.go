package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// removalNamespaces: a is one file until something is deleted of it, b is compacted,
// c rolls, d does both.
var (
	removalNamespaces = []string{"a", "b", "c", "d"}
	compacting        = map[string]bool{"b": true, "d": true}
)

const (
	removalLife   = 4  // kills
	removalSample = 80 // of the deleted events, and of the others, that are read one by one after each kill
)

// clearing is one life of the check removals.
type clearing struct {
	*life
	book   *book
	sealed bool
	since  time.Time // before the server was ended the last time
	kills  int
	stops  int // of those, in good order
}

// removals runs deletions of single events, compaction, delays and times to live over
// kill -9.
func (h *harness) removals(ctx context.Context, check, binary string, n int) error {
	begun := time.Now()
	var sum figures
	kills, stops := 0, 0
	for number := 0; kills < n && ctx.Err() == nil; number++ {
		want := min(removalLife, n-kills)
		if h.life >= 0 {
			number, n, want = h.life, 0, removalLife // the only one
		}
		c, err := h.clear(ctx, check, binary, number, want)
		if err != nil {
			return fmt.Errorf("life %d after %d kills: %w", number, kills, err)
		}
		kills, stops = kills+c.kills, stops+c.stops
		sum.add(c.book.figures)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if n >= 2*removalLife && sum.deleted*sum.compacted*sum.delivered*sum.over*sum.newest == 0 {
		return fmt.Errorf("there was nothing to be wrong: %+v", sum)
	}
	h.say(check, "%d kills, %d stops, %d events answered: %d deleted, %d compacted, %d delivered as they came due, %d over; %d times read, %d times the newest of a subject, %d times in a file: 0 read or in a file behind their deletion, 0 lost, 0 early, twice or never delivered, 0 delivered behind their time; %s",
		kills-stops, stops, sum.answered, sum.deleted, sum.compacted, sum.delivered, sum.over, sum.read, sum.newest, sum.tokens, time.Since(begun).Round(100*time.Millisecond))
	return nil
}

// lateRemovals runs it with a bus that answers deletions before they are done, and
// fails when that is not noticed.
func (h *harness) lateRemovals(ctx context.Context, check, binary string, n int) error {
	begun := time.Now()
	quiet := *h
	quiet.expected = true
	for number := 0; number*removalLife < n; number++ {
		_, err := quiet.clear(ctx, check, binary, max(h.life, number), removalLife)
		if err != nil && (!errors.Is(err, errFault) || ctx.Err() != nil) {
			return err
		}
		if err != nil && strings.Contains(err.Error(), deletedBefore) {
			h.say(check, "noticed: %s; %s", firstLine(err, deletedBefore), time.Since(begun).Round(100*time.Millisecond))
			return nil
		}
	}
	return fmt.Errorf("%w: %s: nothing noticed in %d kills", errFault, check, n)
}

func (h *harness) clear(ctx context.Context, check, binary string, number, kills int) (*clearing, error) {
	l, err := h.newLife(check, binary, h.seed, number)
	if err != nil {
		return nil, err
	}
	c := &clearing{life: l, book: newBook(), sealed: number%3 == 1}
	l.save = c.book.save
	l.server.flags = []string{"--sync", []string{"always", "os", "interval=100ms"}[l.rand.IntN(3)], "--admin",
		"--block-size", []string{"4096", "512", "65536"}[l.rand.IntN(3)], "--namespaces", "c,d", "--retention", "b=compact",
		"--retention", "c=4800events,discard=new", "--retention", "d=4800events,discard=new,compact"} // more than a life publishes
	if c.sealed {
		l.server.flags = append(l.server.flags, "--secret-key", secret)
	}
	return c, l.end(c.live(ctx, kills))
}

// live leads the life: load and kills, and then quiet.
func (c *clearing) live(ctx context.Context, kills int) error {
	if err := errors.Join(c.server.start(ctx), c.hire(ctx)); err != nil {
		return err
	}
	hands := c.hands(ctx)
	defer hands.end()
	for range kills {
		pause(ctx, time.Duration(50+c.rand.IntN(1000))*time.Millisecond)
		if err := errors.Join(ctx.Err(), c.again(ctx, c.rand.IntN(5) == 0)); err != nil {
			return err
		}
		if err := c.look(ctx, time.Time{}); err != nil {
			return err
		}
	}
	hands.end()
	return c.close(ctx)
}

// hire makes a consumer of each namespace whose events stay.
func (c *clearing) hire(ctx context.Context) error {
	for _, namespace := range removalNamespaces {
		if compacting[namespace] {
			continue
		}
		settings := fmt.Sprintf(`{"subjects":["%s.>"],"start":"oldest","redelivery":"200ms","redelivery_count":3,"inflight":32}`, namespace)
		text, status, err := send(ctx, c.http, http.MethodPut, c.server.url()+"/v1/namespaces/"+namespace+"/consumers/work", settings)
		if err == nil && status != http.StatusCreated {
			err = fmt.Errorf("%w: making a consumer got %d: %s", errFault, status, text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// again ends the server, looks what is in its files, and starts it.
func (c *clearing) again(ctx context.Context, gently bool) error {
	c.since = time.Now()
	if err := c.stop(gently); err != nil {
		return err
	}
	if c.rand.IntN(4) == 0 { // and once more while it opens
		if err := errors.Join(c.falseStart(ctx), c.server.kill()); err != nil {
			return err
		}
	}
	found, err := tokensIn(c.server.dir)
	if err != nil {
		return err
	}
	c.book.judgeFiles(found, c.sealed, c.since)
	return errors.Join(c.book.judged(), c.server.start(ctx))
}

// stop ends the server by a signal of either kind.
func (c *clearing) stop(gently bool) error {
	c.kills++
	if !gently {
		return c.server.kill()
	}
	c.stops++
	code, err := c.server.stop(syscall.SIGTERM)
	if err == nil && code != 0 {
		err = fmt.Errorf("%w: a stop ended with code %d, want 0", errFault, code)
	}
	return err
}

// look reads all there is and has it judged.
func (c *clearing) look(ctx context.Context, due time.Time) error {
	l := &look{since: c.since, due: due, began: time.Now(), all: make(map[string][]event), waiting: make(map[string][]event)}
	for _, namespace := range removalNamespaces {
		all, err := c.read(ctx, namespace, "oldest")
		if err != nil {
			return err
		}
		l.all[namespace] = all
	}
	for _, namespace := range removalNamespaces {
		waiting, err := c.waiting(ctx, namespace)
		if err != nil {
			return err
		}
		if l.waiting[namespace] = waiting; !compacting[namespace] {
			continue
		}
		newest, err := c.read(ctx, namespace, "last")
		if err != nil {
			return err
		}
		l.newest = append(l.newest, newest...)
	}
	l.ended = time.Now()
	c.book.judge(l)
	return errors.Join(c.readSome(ctx), c.book.judged())
}

// read takes what was delivered in a namespace, and has each event judged as it comes.
func (c *clearing) read(ctx context.Context, namespace, start string) (all []event, err error) {
	w := newWitness(namespace)
	query := url.Values{"subject": {namespace + ".>"}, "start": {start}, "until": {"newest"}}
	err = follow(ctx, c.http, c.server.url(), query, func(e event) error {
		switch {
		case e.Problem != nil:
			return fmt.Errorf("%w: reading %s got %s", errFault, namespace, e.Problem)
		case e.Gap != nil:
			c.book.gap(namespace, e.Gap)
		default:
			c.book.see(w, e)
			all = append(all, e)
		}
		return nil
	})
	return all, err
}

// waiting lists what waits for its delivery.
func (c *clearing) waiting(ctx context.Context, namespace string) (all []event, err error) {
	for after := ""; ; {
		var page struct {
			Delayed []event
			After   string
		}
		at := c.server.url() + "/v1/namespaces/" + namespace + "/delayed?limit=1000"
		if after != "" {
			at += "&after=" + after
		}
		text, status, err := send(ctx, c.http, http.MethodGet, at, "")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%w: what waits in %s: got %d: %s", errFault, namespace, status, text)
		}
		if err == nil {
			err = json.Unmarshal(text, &page)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, page.Delayed...)
		if after = page.After; after == "" {
			return all, nil
		}
	}
}

// readSome reads events one by one.
func (c *clearing) readSome(ctx context.Context) error {
	for _, p := range c.book.sample(removalSample, c.rand.IntN) {
		for _, name := range c.book.namesOf(p) {
			began := time.Now()
			text, status, err := send(ctx, c.http, http.MethodGet, c.server.url()+"/v1/namespaces/"+p.Namespace+"/events/"+name, "")
			if err != nil {
				return err
			}
			var o one
			if err := json.Unmarshal(text, &o); err != nil {
				return fmt.Errorf("%w: reading %s of %s got %q: %w", errFault, name, p.Namespace, text, err)
			}
			o.status = status
			c.book.judgeOne(p, name, o, began, c.since)
		}
	}
	return nil
}

// settled looks at everything once all was delivered that has come due.
func (c *clearing) settled(ctx context.Context) error {
	var at time.Time
	err := until(ctx, "what has come due to be delivered", func() bool {
		at = time.Now()
		for _, namespace := range removalNamespaces {
			_, err := c.read(ctx, namespace, "oldest")
			waiting, also := c.waiting(ctx, namespace)
			if err != nil || also != nil { // the look that follows says so
				return true
			}
			if slices.ContainsFunc(waiting, func(e event) bool { return !e.DeliverAt.After(at) }) {
				return false
			}
		}
		return c.book.overdue(at) == 0
	})
	return errors.Join(err, c.look(ctx, at))
}

// close looks once more at what is left, behind a kill and behind a stop, and has the
// product read all.
func (c *clearing) close(ctx context.Context) error {
	if err := c.settled(ctx); err != nil {
		return err
	}
	for _, gently := range []bool{false, true} {
		if err := c.again(ctx, gently); err != nil {
			return err
		}
		if err := c.settled(ctx); err != nil {
			return err
		}
	}
	if _, err := c.server.stop(syscall.SIGTERM); err != nil {
		return err
	}
	if err := c.server.verify(ctx); err != nil {
		return err
	}
	if said := c.server.complaints(true); len(said) > 0 {
		return fmt.Errorf("%w: the server said %d times what it should not, first: %s", errFault, len(said), said[0])
	}
	return nil
}

var tokens = regexp.MustCompile(`tok-[0-9a-f]{16}`)

// tokensIn finds the tokens that stand in the files of a directory, with the name of
// one that has it. What recovery has set aside is no part of the bus any more.
func tokensIn(dir string) (map[string]string, error) {
	found := make(map[string]string)
	return found, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.Contains(d.Name(), ".torn-") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, token := range tokens.FindAll(text, -1) {
			found[string(token)] = d.Name()
		}
		return err
	})
}
