package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"

	root "example.com/bus"
	bus "example.com/bus/client"
)

// refusedAt checks that a Put was refused with this actual index.
func refusedAt(t *testing.T, resp *bus.Response, actual uint64) {
	t.Helper()
	refused, _ := root.AsError(resp.Error())
	if !errors.Is(resp.Error(), root.ErrWrongIndex) || refused.Index != actual || resp.Id != "" {
		t.Errorf("got %v with id %q, want %v with index %d", resp.Error(), resp.Id, root.ErrWrongIndex, actual)
	}
}

func TestAPutOnAConditionIsStoredOrSaysTheActualIndex(t *testing.T) {
	url, ctx := realBus(t)
	c := bus.NewClient(url)
	put := func(opts ...bus.PutOption) *bus.Response {
		return c.Put(ctx, append(opts, bus.WithSubject("app.a"), bus.WithData(1))...)
	}
	refusedAt(t, put(bus.WithExpectedIndex(7)), 0)
	for i := range uint64(3) {
		if resp := put(bus.WithExpectedIndex(i), bus.WithExpectedSubjectIndex(i)); resp.Error() != nil || resp.Index != i+1 {
			t.Fatalf("got index %d and %v, want %d", resp.Index, resp.Error(), i+1)
		}
		refusedAt(t, put(bus.WithExpectedIndex(i)), i+1)
		refusedAt(t, put(bus.WithExpectedSubjectIndex(i), bus.WithKey(fmt.Sprint(i))), i+1)
	}
	item := func(subject string) bus.PutOption { return bus.Batch(bus.WithSubject(subject), bus.WithData(1)) }
	if resp := c.Put(ctx, item("app.a"), item("app.a"), bus.WithExpectedSubjectIndex(3)); resp.Error() != nil || len(resp.Receipts) != 2 {
		t.Errorf("batch: got %v", resp.Error())
	}
	for name, resp := range map[string]*bus.Response{
		"two subjects":   c.Put(ctx, item("app.a"), item("app.b"), bus.WithExpectedSubjectIndex(5)),
		"inside a batch": c.Put(ctx, bus.Batch(bus.WithSubject("app.a"), bus.WithExpectedIndex(5))),
	} {
		if !errors.Is(resp.Error(), root.ErrInvalidParameter) {
			t.Errorf("%s: got %v, want %v", name, resp.Error(), root.ErrInvalidParameter)
		}
	}
}

// forgetful loses the first answers, after the server has given them.
type forgetful struct {
	mu   sync.Mutex
	lose int
}

func (f *forgetful) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil || f.lose == 0 {
		return resp, err
	}
	f.lose--
	resp.Body.Close()
	return nil, errors.New("the connection broke")
}

func TestALostAnswerOfAPutWithAKeyIsNoConflict(t *testing.T) {
	url, ctx := realBus(t)
	defer http.DefaultClient.CloseIdleConnections()
	f := &forgetful{lose: 2}
	c := bus.NewClient(url, bus.WithHTTPClient(&http.Client{Transport: f}))
	resp := c.Put(ctx, bus.WithSubject("app.a"), bus.WithKey("k"), bus.WithExpectedIndex(0), bus.WithExpectedSubjectIndex(0))
	if resp.Error() != nil || resp.Index != 1 || !resp.Duplicate {
		t.Errorf("got index %d, duplicate %v and %v, want the receipt of the first try", resp.Index, resp.Duplicate, resp.Error())
	}
	f.lose = 1
	resp = c.Put(ctx, bus.WithSubject("app.a"), bus.WithExpectedIndex(1))
	if _, answered := root.AsError(resp.Error()); resp.Error() == nil || answered {
		t.Errorf("without a key: got %v, want the broken connection and no answer that was never given", resp.Error())
	}
}

// A counter in an event: everybody reads it, adds one, and stores it if it is still the
// last. None of the additions is lost.
func TestACounterKeptByConditionsLosesNoAddition(t *testing.T) {
	url, ctx := realBus(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c := bus.NewClient(url)
			defer c.CloseIdleConnections()
			for range 10 {
				add(ctx, t, c)
			}
		})
	}
	wg.Wait()
	c := bus.NewClient(url)
	defer c.CloseIdleConnections()
	if count, _ := counter(ctx, t, c); count != 80 {
		t.Errorf("got %d, want 80", count)
	}
}

func counter(ctx context.Context, t *testing.T, c *bus.Client) (count int, index uint64) {
	for event, err := range c.Get(ctx, bus.WithSubject("app.counter"), bus.WithStartFrom(bus.StartLast), bus.WithUntilNewest()) {
		if err != nil {
			t.Error(err)
			return 0, 0
		}
		fmt.Sscan(string(event.Payload), &count)
		index = event.Index
	}
	return count, index
}

func add(ctx context.Context, t *testing.T, c *bus.Client) {
	for ctx.Err() == nil {
		count, index := counter(ctx, t, c)
		err := c.Put(ctx, bus.WithSubject("app.counter"), bus.WithData(count+1), bus.WithExpectedSubjectIndex(index)).Error()
		if err == nil {
			return
		}
		if !errors.Is(err, root.ErrWrongIndex) {
			t.Error(err)
			return
		}
	}
}

func TestAStreamFromTheLastHasEachSubjectOnceAndGoesOn(t *testing.T) {
	url, ctx := realBus(t)
	c := bus.NewClient(url)
	for i := range 30 {
		if err := c.Put(ctx, bus.WithSubject(fmt.Sprintf("app.s%d", i%3)), bus.WithData(i)).Error(); err != nil {
			t.Fatal(err)
		}
	}
	var got []uint64
	for event, err := range c.Get(ctx, bus.WithSubject("app.*"), bus.WithStartFrom(bus.StartLast)) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, event.Index); len(got) == 3 {
			if err := c.Put(ctx, bus.WithSubject("app.s1"), bus.WithData("live")).Error(); err != nil {
				t.Fatal(err)
			}
		}
		if len(got) == 4 {
			break
		}
	}
	if want := "[28 29 30 31]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
