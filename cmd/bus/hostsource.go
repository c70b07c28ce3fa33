package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"example.com/bus"
	"example.com/bus/client"
)

// hostSource reads from a server.
type hostSource struct {
	url     string
	client  *client.Client
	damages *damages
	last    map[string]uint64 // index of the newest event, when namespaces was asked
}

// newHostSource connects to nothing.
func newHostSource(url string, d *damages) *hostSource {
	return &hostSource{url: url, client: client.NewClient(url), damages: d, last: make(map[string]uint64)}
}

func (s *hostSource) close() error { return nil }

// namespaces also notes how far each goes, to know a stream that ended early.
func (s *hostSource) namespaces(ctx context.Context) ([]string, error) {
	infos, err := namespacesOf(ctx, s.url)
	if err != nil {
		return nil, hostError(err, s.url)
	}
	var list []string
	for _, info := range infos {
		list = append(list, info.Name)
		s.last[info.Name] = info.Last
	}
	return list, nil
}

// namespacesOf asks a server for what it serves.
func namespacesOf(ctx context.Context, host string) ([]bus.NamespaceInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(host, "/")+"/v1/namespaces", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Namespaces []bus.NamespaceInfo `json:"namespaces"`
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxPayload)).Decode(&answer)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s and no list of namespaces; is it the URL of a bus server?", req.URL.Redacted(), resp.Status)
	}
	return answer.Namespaces, nil
}

// read leaves the matching to the server. The client takes up a broken
// connection by itself.
func (s *hostSource) read(ctx context.Context, w wanted, follow bool, take func([]bus.Event) error) error {
	options := []client.GetOption{client.WithStartFrom(client.StartOldest)}
	if !follow {
		options = append(options, client.WithUntilNewest())
	}
	for _, p := range w.patterns {
		options = append(options, client.WithSubject(p.String()))
	}
	if len(w.patterns) == 0 {
		options = append(options, client.WithSubject(w.namespace+".>"))
	}
	reached, gaps := uint64(0), false
	for event, err := range s.client.Get(ctx, options...) {
		if err != nil {
			gaps = true
			if err := s.problem(err); err != nil {
				return err
			}
			continue
		}
		reached = event.Index
		if err := take([]bus.Event{event.Event}); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if follow {
		return errors.New("the server has ended the stream for good; run it again to go on")
	}
	// A stream that ends early must not pass for a whole one.
	if last := s.last[w.namespace]; len(w.patterns) == 0 && !gaps && reached < last {
		return fmt.Errorf("the stream of %s ended at index %d, wanted %d; run it again", w.namespace, reached, last)
	}
	return nil
}

// problem decides what a gap means: what retention has deleted is not missing,
// what is damaged is, and what was repaired is told.
func (s *hostSource) problem(err error) error {
	if gap, ok := errors.AsType[*client.GapError](err); ok || errors.Is(err, bus.ErrCorrupt) {
		if ok && gap.Reason == "retention" {
			return nil // they were given up on purpose
		}
		if ok && !gap.RepairedAt.IsZero() {
			return s.damages.gone(lostEvents{gap.Namespace, gap.ResumedIndex - gap.Lost, gap.ResumedIndex, gap.Reason, gap.RepairedAt})
		}
		return s.damages.met(err)
	}
	return hostError(err, s.url)
}
