package server_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func TestStreamsEndCleanlyAndSayWhenToComeBack(t *testing.T) {
	b := openBus(t)
	var streams []*sse
	for range 20 {
		streams = append(streams, b.open("subject=orders.*"))
	}
	b.stop()
	seen := make(map[string]bool)
	for _, s := range streams {
		retry := s.ended()
		if n, err := strconv.Atoi(retry); err != nil || n < 1000 || n >= 5000 {
			t.Fatalf("retry: got %q, want 1000 to 5000", retry)
		}
		seen[retry] = true
	}
	if len(seen) < 5 {
		t.Errorf("twenty streams were told %d different times, want them spread", len(seen))
	}
}

func TestWhatWasAnsweredBeforeAStopIsThereAfterIt(t *testing.T) {
	b := openBus(t)
	var mu sync.Mutex
	answered := make(map[string]bool)
	var work sync.WaitGroup
	started, address := make(chan struct{}, 8), b.url
	for p := range 8 {
		work.Go(func() {
			for n := 0; ; n++ {
				subject := fmt.Sprintf("orders.p%d-%d", p, n)
				resp, err := http.Post(address+"/", "application/json", strings.NewReader(`{"subject":"`+subject+`"}`))
				if err != nil {
					return
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusAccepted {
					return
				}
				mu.Lock()
				answered[subject] = true
				mu.Unlock()
				if n == 10 {
					started <- struct{}{}
				}
			}
		})
	}
	for range 8 {
		<-started
	}
	b.stop()
	work.Wait()
	b.start(strings.TrimPrefix(address, "http://"))
	for line := range strings.SplitSeq(b.do("GET", "/?subject=orders.*&start=oldest&until=newest", "", "Accept: application/x-ndjson").body, "\n") {
		delete(answered, answer{body: line}.field("subject"))
	}
	if len(answered) > 0 {
		t.Errorf("%d answered events are gone: %v", len(answered), answered)
	}
}

func TestAStoppingServerTakesNoMoreEventsAndIsNotReady(t *testing.T) {
	b := openBus(t)
	request := b.open("subject=orders.*")
	waiting := make(chan answer)
	go func() { waiting <- b.do("POST", "/?confirm=1&timeout=20s", `{"subject":"orders.1"}`) }()
	request.next("msg")
	handler := b.server.Handler()
	b.stop()
	if a := <-waiting; a.status != http.StatusGatewayTimeout || a.field("index") != "1" {
		t.Errorf("a publisher that waited: got %d %s, want to be told that its event is stored", a.status, a.body)
	}
	for path, want := range map[string]int{"POST /": 503, "GET /readyz": 503, "GET /livez": 200} {
		method, target, _ := strings.Cut(path, " ")
		if got := handled(handler, method, target); got != want {
			t.Errorf("%s while stopping: got %d, want %d", path, got, want)
		}
	}
}

func handled(h http.Handler, method, target string) int {
	w := &statusRecorder{header: make(http.Header)}
	r, err := http.NewRequestWithContext(context.Background(), method, target, strings.NewReader(`{"subject":"orders.2"}`))
	if err != nil {
		return 0
	}
	h.ServeHTTP(w, r)
	return w.status
}

// statusRecorder keeps the status of an answer.
type statusRecorder struct {
	header http.Header
	status int
}

func (w *statusRecorder) Header() http.Header { return w.header }

func (w *statusRecorder) WriteHeader(status int) { w.status = status }

func (w *statusRecorder) Write(p []byte) (int, error) { return len(p), nil }

func TestAStreamThatAlwaysHasSomethingToSendIsEndedToo(t *testing.T) {
	b := openBus(t)
	var work sync.WaitGroup
	address := b.url
	defer work.Wait()
	s := b.open("subject=orders.*")
	work.Go(func() {
		for n := 0; ; n++ {
			resp, err := http.Post(address+"/", "application/json", strings.NewReader(`{"subject":"orders.1"}`))
			if err != nil {
				return
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusAccepted {
				return
			}
		}
	})
	s.next("msg")
	b.stop()
	for {
		f, ok := s.read()
		if f.retry != "" {
			return
		}
		if !ok {
			t.Fatal("the stream was cut off, want an end with retry")
		}
	}
}
