package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	busserver "example.com/bus/server"
	"example.com/bus/server/disk"
	"example.com/bus/server/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

// lie is what a server does wrong.
type lie struct {
	name   string
	stream int                           // on the stream with this number alone, from 1 on; 0: on all
	frames func(first, second int) []int // which of the first two events come instead of both
	answer func(body []byte) []byte      // what is answered to a publish
}

var index = regexp.MustCompile(`"index":\d+`)

var lies = []lie{
	{name: "drops the first event", frames: func(first, second int) []int { return []int{second} }},
	{name: "doubles the first event", frames: func(first, second int) []int { return []int{first, first, second} }},
	{name: "swaps the first two events", frames: func(first, second int) []int { return []int{second, first} }},
	{name: "answers wrong indexes", answer: func(body []byte) []byte {
		return index.ReplaceAllFunc(body, func(at []byte) []byte {
			n, _ := strconv.Atoi(string(at[len(`"index":`):]))
			return fmt.Appendf(nil, `"index":%d`, n+100)
		})
	}},
	{name: "answers one index for all", answer: func(body []byte) []byte { return index.ReplaceAll(body, []byte(`"index":1`)) }},
	{name: "forgets a receipt", answer: func(body []byte) []byte { return index.ReplaceAll(body, []byte(`"place":7`)) }},
}

// liar is a real bus in this process, behind a proxy that lies.
type liar struct {
	busDialect
	lie lie
}

func (l liar) launch(_ *run, s *server, flags ...string) error {
	options := disk.Options{Namespaces: []string{s.ns}, MaxEvent: 2 << 20}
	for i, flag := range flags {
		if flag == "--namespaces" {
			options.Namespaces = append(options.Namespaces, flags[i+1])
		}
	}
	slices.Sort(options.Namespaces)
	engine, err := disk.Open(s.dir, options)
	if err != nil {
		return err
	}
	bus, err := newBus(engine)
	if err != nil {
		return err
	}
	proxy, err := l.proxy(bus.addr)
	if err != nil {
		return err
	}
	end := sync.OnceFunc(func() { proxy.end(); bus.end(); engine.Close() })
	s.addr, s.stop, s.kill = proxy.addr, end, end
	return nil
}

// served is an HTTP server and how to end it.
type served struct {
	addr string
	end  func()
}

func newBus(engine *disk.Engine) (*served, error) {
	b, err := busserver.New(busserver.Config{Engine: engine, Heartbeat: time.Hour, MaxEvent: 2 << 20})
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() { defer close(done); b.Serve(l) }()
	return &served{l.Addr().String(), func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // what is under way is nobody's any more
		b.Shutdown(ctx)
		<-done
	}}, nil
}

func (l liar) proxy(addr string) (*served, error) {
	target, err := url.Parse("http://" + addr)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{}
	streams := new(atomic.Int64)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport, proxy.FlushInterval, proxy.ErrorLog = transport, -1, slog.NewLogLogger(slog.DiscardHandler, 0)
	proxy.ModifyResponse = func(resp *http.Response) error { return l.change(resp, streams) }
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h := &http.Server{Handler: proxy}
	done := make(chan struct{})
	go func() { defer close(done); h.Serve(listener) }()
	return &served{listener.Addr().String(), func() { h.Close(); transport.CloseIdleConnections(); <-done }}, nil
}

// change makes a lie of an answer.
func (l liar) change(resp *http.Response, streams *atomic.Int64) error {
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		if n := streams.Add(1); l.lie.frames != nil && (l.lie.stream == 0 || int64(l.lie.stream) == n) {
			resp.Body = &falseStream{Closer: resp.Body, in: bufio.NewReader(resp.Body), lie: l.lie}
		}
		return nil
	}
	if resp.Request.Method != http.MethodPost || l.lie.answer == nil {
		return nil
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	body = l.lie.answer(body)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.ContentLength = int64(len(body))
	resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return nil
}

// falseStream has other events than its server.
type falseStream struct {
	io.Closer
	in     *bufio.Reader
	lie    lie
	events [][]byte
	out    []byte
}

func (f *falseStream) Read(b []byte) (int, error) {
	for len(f.out) == 0 {
		frame, err := f.frame()
		if err != nil {
			return 0, err
		}
		f.add(frame)
	}
	n := copy(b, f.out)
	f.out = f.out[n:]
	return n, nil
}

// add passes a frame on, or lies about it. A doubled event need not wait for the
// second.
func (f *falseStream) add(frame []byte) {
	if !bytes.Contains(frame, eventHead) || len(f.events) == 2 {
		f.out = append(f.out, frame...)
		return
	}
	f.events = append(f.events, frame)
	if len(f.events) < 2 {
		return
	}
	for _, i := range f.lie.frames(0, 1) {
		f.out = append(f.out, f.events[i]...)
	}
}

func (f *falseStream) frame() ([]byte, error) {
	var frame []byte
	for {
		line, err := f.in.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		if frame = append(frame, line...); len(line) == 1 {
			return frame, nil
		}
	}
}

// tiny is every kind of workload there is, as small as it can be.
func tiny() []Workload {
	return []Workload{
		{Name: "publish", measure: publishing(2, 1)},
		{Name: "batch", measure: publishing(2, 10)},
		{Name: "fanout", measure: fanOut(3, 10)},
		{Name: "fanout-single", measure: fanOut(3, 1)},
		{Name: "latency", measure: latency(2, 200)},
		{Name: "replay", measure: replaying(1, false)},
		{Name: "replay-sealed", measure: replaying(2, true)},
		{Name: "resume", measure: resuming(20)},
		{Name: "start", measure: starting(20)},
		{Name: "idle", measure: idle},
		{Name: "ack-single", measure: acking(8, 2, false)},
		{Name: "ack-group", measure: acking(8, 1, true)},
		{Name: "reply", measure: asking},
		{Name: "grow-subscribers", measure: besides(3)},
		{Name: "grow-behind-1", measure: behindBy(1)},
		{Name: "grow-behind-20", measure: behindBy(20)},
		{Name: "grow-rare", measure: seeking(20)},
		{Name: "grow-namespaces", measure: namespaces(2)},
		{Name: "grow-payload", measure: payloads(16)},
		{Name: "grow-subjects", measure: subjects(30)},
	}
}

func lyingConfig(t *testing.T, l lie) Config {
	return Config{
		Runs: 1, Time: 10 * time.Millisecond, Events: 20, Idle: 3, Dir: t.TempDir(), patience: 20 * time.Second,
		systems: []system{{name: "bus", dialect: liar{lie: l}}},
	}
}

func TestEveryWorkloadFailsAtAServerThatLies(t *testing.T) {
	for _, l := range lies {
		for _, w := range tiny() {
			t.Run(l.name+"/"+w.Name, func(t *testing.T) {
				t.Parallel()
				c := lyingConfig(t, l)
				c.plan, c.patience = []Workload{w}, 300*time.Millisecond
				report, err := Run(t.Context(), c)
				if err == nil {
					t.Fatalf("got %+v, want an error and no figure", report.Results)
				}
				if len(report.Results) != 0 {
					t.Errorf("got %d results beside %v, want none", len(report.Results), err)
				}
			})
		}
	}
}

func TestEveryWorkloadHasFiguresOfAnHonestServer(t *testing.T) {
	for _, w := range tiny() {
		t.Run(w.Name, func(t *testing.T) {
			t.Parallel()
			c := lyingConfig(t, lie{})
			c.plan = []Workload{w}
			report, err := Run(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if got := report.Results[0].Median.Events; got == 0 {
				t.Errorf("got no events, want some: %+v", report.Results[0])
			}
			if left, err := os.ReadDir(c.Dir); err != nil || len(left) != 0 {
				t.Errorf("got %v %v left, want nothing", left, err)
			}
		})
	}
}

func TestALieToOneSubscriberThatOnlyCountsIsFoundOut(t *testing.T) {
	for _, l := range lies[:3] {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			l.stream = 2
			c := lyingConfig(t, l)
			c.plan, c.patience = []Workload{{Name: "fanout", measure: fanOut(3, 10)}}, 300*time.Millisecond
			if _, err := Run(t.Context(), c); err == nil {
				t.Error("got no error, want one")
			}
		})
	}
}
