package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/bus/client"
)

// event is what a reader gets, as far as it is judged.
type event struct {
	Id      string          `json:"id"`
	Subject string          `json:"subject"`
	Index   uint64          `json:"index"`
	Key     string          `json:"key"`
	Payload json.RawMessage `json:"payload"`
	Gap     json.RawMessage `json:"gap"`
	Problem json.RawMessage `json:"problem"`

	DeliveredIndex uint64    `json:"delivered_index"`
	DeliverAt      time.Time `json:"deliver_at"`
	ExpiresAt      time.Time `json:"expires_at"`
}

// name is what the publisher called it, "" when the payload is none of ours.
func (e *event) name() string {
	var p struct{ Name string }
	if json.Unmarshal(e.Payload, &p) != nil {
		return ""
	}
	return p.Name
}

// readAll reads a namespace from its beginning to the end it had when asked. A
// gap or an end that comes early is a fault: nothing was ever deleted.
func readAll(ctx context.Context, c *http.Client, base, namespace string) ([]event, error) {
	end, err := tail(ctx, c, base, namespace)
	if err != nil {
		return nil, err
	}
	all, err := readStream(ctx, c, base, namespace+".>")
	if err == nil && uint64(len(all)) < end {
		err = fmt.Errorf("%w: reading %s got %d events, the server says it has %d", errFault, namespace, len(all), end)
	}
	return all, err
}

// follow reads a stream of lines until it ends.
func follow(ctx context.Context, c *http.Client, base string, query url.Values, each func(event) error) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "application/x-ndjson")
	resp, err := c.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("%w: GET got %s: %s", errFault, resp.Status, text)
	}
	lines := bufio.NewReaderSize(resp.Body, 1<<16)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			return nil
		}
		if err != nil {
			return err // in the middle of a line: not an event
		}
		if len(line) == 1 {
			continue // a ping
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("%w: got the line %q: %w", errFault, line, err)
		}
		if err := each(e); err != nil {
			return err
		}
	}
}

// readStream reads the events of a subject that were delivered so far.
func readStream(ctx context.Context, c *http.Client, base, subject string) (all []event, err error) {
	query := url.Values{"subject": {subject}, "start": {"oldest"}, "until": {"newest"}}
	err = follow(ctx, c, base, query, func(e event) error {
		if e.Gap != nil || e.Problem != nil {
			return fmt.Errorf("%w: reading %s got %s%s", errFault, subject, e.Gap, e.Problem)
		}
		all = append(all, e)
		return nil
	})
	return all, err
}

// tail is the index of the newest event, as the server says it.
func tail(ctx context.Context, c *http.Client, base, namespace string) (uint64, error) {
	var info struct {
		LastIndex uint64 `json:"last_index"`
		Problem   string `json:"problem"`
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/namespaces/"+namespace, nil)
	if err != nil {
		return 0, err
	}
	resp, err := c.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return info.LastIndex, json.NewDecoder(resp.Body).Decode(&info)
}

// watchLines reads live as a shell would, again and again from the oldest, and
// notes what it sees. It ends with ctx.
func watchLines(ctx context.Context, c *http.Client, base string, j *journal) {
	query := url.Values{"subject": {namespaces[0] + ".>", namespaces[1] + ".>"}, "start": {"oldest"}}
	for ctx.Err() == nil {
		next := map[string]uint64{}
		follow(ctx, c, base, query, func(e event) error {
			namespace, _, _ := strings.Cut(e.Subject, ".")
			if e.Gap != nil || e.Problem != nil {
				return nil // it says that it ends, and why
			}
			if next[namespace]++; e.Index != next[namespace] {
				j.mistake("a reader of lines got %s %d, want %d", namespace, e.Index, next[namespace])
			}
			j.see(namespace, e)
			return nil
		})
		pause(ctx, 5*time.Millisecond)
	}
}

// watchTails asks where the ends are: to say that there are n events is to show
// them.
func watchTails(ctx context.Context, c *http.Client, base string, j *journal) {
	for ctx.Err() == nil {
		for _, namespace := range namespaces {
			if n, err := tail(ctx, c, base, namespace); err == nil {
				j.seeTail(namespace, n)
			}
		}
		pause(ctx, 3*time.Millisecond)
	}
}

// watchClient reads with the Go client, which resumes by itself: over all kills
// it has to get every event once and in order.
func watchClient(ctx context.Context, base, namespace string, j *journal) {
	var next uint64
	c := client.NewClient(base)
	for e, err := range c.Get(ctx, client.WithSubject(namespace+".>"), client.WithStartFrom(client.StartOldest)) {
		if err != nil {
			if ctx.Err() == nil && !j.isDark() {
				j.mistake("the client gave up on %s: %v", namespace, err)
			}
			return
		}
		if next++; e.Index != next {
			j.mistake("the client got %s %d, want %d", namespace, e.Index, next)
			next = e.Index
		}
		j.see(namespace, event{Id: e.Id, Index: e.Index, Payload: json.RawMessage(e.Payload)})
	}
}
