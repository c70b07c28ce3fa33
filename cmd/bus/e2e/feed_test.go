//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// pace is the time between two events of a feed: slow enough that a test with
// three reconnects stays at some hundred events, fast enough that a cut always
// falls between two of them.
const pace = 10 * time.Millisecond

// feed publishes events numbered from 1 to a subject, one after another, each
// until it is answered. It goes on while the server is away. Every event has
// its own key, so that the repeat of one whose answer was lost is stored once;
// and because nobody else publishes, the index is the number.
type feed struct {
	t        *testing.T
	url      string
	subject  string
	http     *http.Client
	accepted atomic.Int64
	quit     chan struct{}
	done     chan struct{}
}

func newFeed(t *testing.T, s *server, subject string) *feed {
	return &feed{t: t, url: s.url(), subject: subject, http: &http.Client{Timeout: 10 * time.Second},
		quit: make(chan struct{}), done: make(chan struct{})}
}

type published struct {
	Subject string  `json:"subject"`
	Payload payload `json:"payload"`
	Key     string  `json:"key"`
}

type payload struct {
	N int64 `json:"n"`
}

func (f *feed) event(n int64) published {
	return published{Subject: f.subject, Payload: payload{N: n}, Key: "feed-" + strconv.FormatInt(n, 10)}
}

// history publishes count events in one batch.
func (f *feed) history(count int64) {
	f.t.Helper()
	var batch []published
	for n := range count {
		batch = append(batch, f.event(n+1))
	}
	resp, err := f.http.Post(f.url, "application/json", bytes.NewReader(mustJSON(f.t, batch)))
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		body, _ := io.ReadAll(resp.Body)
		f.t.Fatalf("publishing the history: got %s %s, want 202", resp.Status, body)
	}
	f.accepted.Store(count)
}

// start goes on publishing until finish.
func (f *feed) start() {
	go func() {
		defer close(f.done)
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for {
			select {
			case <-f.quit:
				return
			case <-tick.C:
				n := f.accepted.Load() + 1
				if err := f.publish(n); err != nil {
					f.t.Log("the publisher tries again:", err)
					continue
				}
				f.accepted.Store(n)
			}
		}
	}()
	f.t.Cleanup(f.halt)
}

// finish stops publishing and returns how many events were accepted.
func (f *feed) finish() int64 {
	f.halt()
	return f.accepted.Load()
}

func (f *feed) halt() {
	select {
	case <-f.quit:
	default:
		close(f.quit)
	}
	<-f.done
}

// publish sends one event. An error means that nobody knows whether it was
// stored, or that the server is on its way out; any other answer than 202 is a
// failure of the test.
func (f *feed) publish(n int64) error {
	resp, err := f.http.Post(f.url, "application/json", bytes.NewReader(mustJSON(f.t, f.event(n))))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusServiceUnavailable:
		return fmt.Errorf("event %d: %s", n, resp.Status)
	case resp.StatusCode != http.StatusAccepted:
		f.t.Errorf("publishing event %d: got %s %s, want 202", n, resp.Status, body)
	}
	if got, want := resp.Header.Get("X-BUS-EVENT-INDEX"), strconv.FormatInt(n, 10); got != want {
		f.t.Errorf("index of event %d: got %s, want %s: an event was lost or doubled", n, got, want)
	}
	return nil
}
