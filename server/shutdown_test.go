package server_test

import (
	"context"
	"fmt"
	"io"
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
	one := `{"subject":"orders.1","payload":"` + strings.Repeat("x", 800) + `"},`
	batch := "[" + strings.TrimSuffix(strings.Repeat(one, 5000), ",") + "]"
	for range 10 {
		b.publish(batch)
	}
	s := b.open("subject=orders.*&start=oldest")
	s.next("msg")
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		b.stop()
	}()
	read := 1
	for f, ok := s.read(); f.retry == ""; f, ok = s.read() {
		if !ok {
			t.Fatalf("the stream was cut off after %d events, want an end with retry", read)
		}
		read++
	}
	<-stopped
	if read > 49_000 {
		t.Errorf("got %d of 50000 events before the end, want the stop to come first", read)
	}
}

func TestAPublisherThatKeepsItsRequestOpenIsEndedByAStopAndToldWhatIsStored(t *testing.T) {
	b := openBus(t)
	body, publisher := io.Pipe()
	defer publisher.Close()
	request, err := http.NewRequest("POST", b.url+"/", body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-ndjson")
	go io.WriteString(publisher, "{\"subject\":\"orders.1\"}\n")
	resp, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b.stop()
	answered, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	got := lines(string(answered))
	if len(got) != 2 || !strings.Contains(got[0], `"index":1`) || !strings.Contains(got[1], `"unavailable"`) || !strings.Contains(got[1], "with a receipt are stored") {
		t.Errorf("got %s, want a receipt, and what is stored", answered)
	}
}

func TestAStopWhilePublishersOverHTTP2EndTheirLinesDoesNoHarm(t *testing.T) {
	for range 20 {
		b := openBus(t)
		var protocols http.Protocols
		protocols.SetUnencryptedHTTP2(true)
		client := &http.Client{Transport: &http.Transport{Protocols: &protocols}}
		started, address := make(chan struct{}, 4), b.url
		var work sync.WaitGroup
		for range 4 {
			work.Go(func() {
				for n := 0; ; n++ {
					resp, err := client.Post(address+"/", "application/x-ndjson", strings.NewReader("{\"subject\":\"orders.1\"}\n"))
					if err != nil {
						return
					}
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if resp.StatusCode != http.StatusAccepted {
						return
					}
					if n == 3 {
						started <- struct{}{}
					}
				}
			})
		}
		for range 4 {
			<-started
		}
		b.stop()
		work.Wait()
		client.CloseIdleConnections()
	}
}
