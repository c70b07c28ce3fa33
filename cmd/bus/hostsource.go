package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"example.com/bus"
	"example.com/bus/client"
)

// hostSource reads from a server.
type hostSource struct {
	url     string
	client  *client.Client
	damages *damages

	tail atomic.Uint64 // what last has said

	delivered  bool        // as that of a dirSource
	connection func(error) // told when a stream that is followed is lost, and nil when it is back
}

// newHostSource connects to nothing.
func newHostSource(url string, d *damages) *hostSource {
	return &hostSource{url: url, client: client.NewClient(url), damages: d, connection: func(error) {}}
}

func (s *hostSource) close() error { return nil }

func (s *hostSource) delivering() source {
	same := newHostSource(s.url, &damages{talk: io.Discard, skip: true})
	same.delivered = true
	return same
}

func (s *hostSource) namespaces(ctx context.Context) ([]string, error) {
	infos, err := namespacesOf(ctx, s.url)
	if err != nil {
		return nil, hostError(err, s.url)
	}
	var list []string
	for _, info := range infos {
		list = append(list, info.Name)
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
	infos, err := readNamespaces(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, &answerError{resp.StatusCode, fmt.Sprintf("%s answered %s and no list of namespaces; is it the URL of a bus server?", req.URL.Redacted(), resp.Status)}
	}
	return infos, nil
}

// answerError is an answer that no bus server gives. What stands before one does,
// while it is started again.
type answerError struct {
	status int
	text   string
}

func (e *answerError) Error() string { return e.text }

// maxNamespaces bounds the bytes of a list of dumpNamespace namespaces.
const maxNamespaces = 2 << 20

// readNamespaces counts before it takes memory for what it counts, and lets no
// name through that could be no file's.
func readNamespaces(body io.Reader) ([]bus.NamespaceInfo, error) {
	var answer struct {
		Namespaces []json.RawMessage `json:"namespaces"`
	}
	if err := json.NewDecoder(io.LimitReader(body, maxNamespaces)).Decode(&answer); err != nil {
		return nil, err
	}
	if len(answer.Namespaces) > dumpNamespace {
		return nil, fmt.Errorf("%d namespaces, at most %d are taken", len(answer.Namespaces), dumpNamespace)
	}
	infos := make([]bus.NamespaceInfo, len(answer.Namespaces))
	for i, one := range answer.Namespaces {
		if err := json.Unmarshal(one, &infos[i]); err != nil {
			return nil, err
		}
		if err := bus.CheckNamespace(infos[i].Name); err != nil {
			return nil, err
		}
	}
	return infos, nil
}

// read leaves the matching to the server. The client takes up a broken
// connection by itself.
//
// A stream has what was delivered. What waits is asked for before it, to know what
// there is to be had, and comes after it: what is delivered in between is in both, or
// behind the end that the stream had.
func (s *hostSource) read(ctx context.Context, w wanted, take func([]bus.Event) error) error {
	r, info, err := s.begin(ctx, w, 0, func(b batch) error { return take(b.events) })
	if err != nil {
		return hostError(err, s.url)
	}
	if info.Delayed > 0 && !s.delivered {
		if r.waiting, err = s.waiting(ctx, w); err != nil {
			return err
		}
	}
	gaps, err := r.run(ctx, client.WithStartFrom(client.StartOldest), client.WithUntilNewest())
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	// A stream that ends early must not pass for a whole one.
	if err := r.fill(ctx, info.Last+1); err != nil && !errors.Is(err, errHole) {
		return err
	} else if err != nil && !gaps {
		return fmt.Errorf("the stream of %s ended at index %d, wanted %d; run it again", w.namespace, r.next-1, info.Last)
	}
	return s.readWaiting(ctx, w, r.waiting, take)
}

// problem decides what a gap means: what retention has deleted is not missing,
// what is damaged is, and what was repaired is told.
func (s *hostSource) problem(w wanted, err error) error {
	if gap, ok := errors.AsType[*client.GapError](err); ok || errors.Is(err, bus.ErrCorrupt) {
		if ok && gap.Reason == "retention" {
			return nil // they were given up on purpose
		}
		if ok && gap.Reason == bus.RemovedDeleted {
			s.damages.passed(gap, true)
			return nil
		}
		if ok && !gap.RepairedAt.IsZero() {
			if gap.Lost == 0 || gap.Lost >= gap.ResumedIndex || gap.Namespace != w.namespace {
				return fmt.Errorf("%s says that %d events before index %d of %.100q are lost, which cannot be; is it a bus server?", shown(s.url), gap.Lost, gap.ResumedIndex, gap.Namespace)
			}
			return s.damages.gone(lostEvents{Namespace: gap.Namespace, From: gap.ResumedIndex - gap.Lost, Next: gap.ResumedIndex, AtMost: gap.AtMost, Reason: gap.Reason, RepairedAt: gap.RepairedAt})
		}
		return s.damages.met(err)
	}
	return hostError(err, s.url)
}
