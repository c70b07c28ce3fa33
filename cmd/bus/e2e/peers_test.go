//go:build e2e

package e2e

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/r3labs/sse/v2"
	gosse "github.com/tmaxmax/go-sse"
	"gopkg.in/cenkalti/backoff.v1"
)

// Each of these clients is somebody else's. It reads the stream as its own
// documentation says, and comes back by itself when it is cut off.

func TestNodeEventsourceSeesEveryEventOnceInOrder(t *testing.T) {
	readWith(t, node(t), "eventsource.mjs")
}

func TestUndiciEventSourceSeesEveryEventOnceInOrder(t *testing.T) {
	readWith(t, node(t), "undici.mjs")
}

func TestEventSourcePolyfillSeesEveryEventOnceInOrder(t *testing.T) {
	readWith(t, node(t), "polyfill.mjs")
}

// curl does not know Server-Sent Events: a loop in the shell around it do.
func TestCurlInAShellLoopSeesEveryEventOnceInOrder(t *testing.T) {
	tool(t, "curl")
	readWith(t, tool(t, "sh"), "curl.sh")
}

// readWith runs a script that takes the stream's URL and prints the data of
// each msg frame on a line.
func readWith(t *testing.T, interpreter, script string) {
	t.Parallel()
	s, f, seen := setUp(t)
	launch(t, command{name: interpreter, args: []string{filepath.Join("peers", script), streamURL(s, f)}, stdout: seen.line})
	seen.wantOnceInOrder(t, throughCuts(t, s, f, seen))
}

func TestGoSSESeesEveryEventOnceInOrder(t *testing.T) {
	t.Parallel()
	s, f, seen := setUp(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, streamURL(s, f), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	conn := gosse.NewConnection(req)
	conn.SubscribeEvent("msg", func(e gosse.Event) { seen.line(e.Data) })
	inBackground(t, func(context.Context) error { return conn.Connect() })
	seen.wantOnceInOrder(t, throughCuts(t, s, f, seen))
}

// r3labs/sse comes back after a broken connection, and takes a stream that ends
// cleanly as the end: its user calls it again, and it still knows the place.
func TestR3labsSSESeesEveryEventOnceInOrder(t *testing.T) {
	t.Parallel()
	s, f, seen := setUp(t)
	client := sse.NewClient(streamURL(s, f))
	client.ReconnectStrategy = &backoff.ConstantBackOff{Interval: 100 * time.Millisecond}
	inBackground(t, func(ctx context.Context) error {
		for ctx.Err() == nil {
			err := client.SubscribeWithContext(ctx, "", func(m *sse.Event) {
				if string(m.Event) == "msg" {
					seen.line(string(m.Data))
				}
			})
			if err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	seen.wantOnceInOrder(t, throughCuts(t, s, f, seen))
}

// inBackground runs a client until the test ends, and waits for it.
func inBackground(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the client gave up: %v", err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}
