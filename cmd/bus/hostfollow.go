package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"example.com/bus"
	"example.com/bus/client"
)

// follow begins at an index. A place that the server no longer has, or never had,
// is for whoever knows what has been copied.
func (s *hostSource) follow(ctx context.Context, w wanted, from uint64, last *bus.Event, take func(batch) error) error {
	start := client.StartOldest
	if from > 0 {
		start = "#" + strconv.FormatUint(from, 10)
	}
	r, _, err := s.begin(ctx, w, from, take)
	if err != nil {
		return err
	}
	r.problem, r.newest = s.moved, last
	connected := func(err error) {
		s.connection(err)
		r.isAnew()
	}
	if err := r.passed(); err != nil {
		return err
	}
	following, stop := context.WithCancel(ctx)
	var behind sync.WaitGroup
	behind.Go(func() { r.catchUp(following) })
	_, err = r.run(ctx, client.WithStartFrom(start), client.WithConnection(connected))
	stop()
	behind.Wait()
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.New("the server has ended the stream for good; run it again to go on")
}

// moved tells a gap that a mirror goes on behind from one behind which it has to
// look anew where it stands.
func (s *hostSource) moved(w wanted, err error) error {
	gap, ok := errors.AsType[*client.GapError](err)
	switch {
	case ok && (gap.Reason == "other_log" || gap.Reason == "ahead"):
		return &movedError{gap.Error()}
	case ok && gap.Reason == "retention":
		fmt.Fprintln(s.damages.talk, "bus:", oneLine(gap.Error()))
	}
	return s.problem(w, err)
}

// last asks for the index of the newest event.
func (s *hostSource) last(ctx context.Context, namespace string) (uint64, error) {
	info, err := s.info(ctx, namespace)
	if err == nil {
		s.tail.Store(info.Last)
	}
	return info.Last, err
}

func (s *hostSource) span(ctx context.Context, namespace string) (logSpan, error) {
	info, err := s.info(ctx, namespace)
	return logSpan{info.First, info.Last, info.Incarnation}, err
}

func (s *hostSource) info(ctx context.Context, namespace string) (info bus.NamespaceInfo, err error) {
	body, err := s.ask(ctx, namespace, 64<<10)
	if err != nil {
		return info, err
	}
	if err := json.Unmarshal(body, &info); err != nil || info.Name != namespace {
		return info, fmt.Errorf("%s answered %.80q, wanted what it says of namespace %s; is it a bus server?", shown(s.url), body, namespace)
	}
	return info, nil
}

// byID stands before an id where an index may stand as well: a publisher may
// choose a number.
const byID = "id:"

// event asks for one event by its index, or by its id behind byID.
func (s *hostSource) event(ctx context.Context, namespace, name string) (*bus.Event, error) {
	body, err := s.ask(ctx, namespace+"/events/"+name, client.DefaultMaxEvent)
	if err != nil {
		return nil, err
	}
	e, _, err := bus.ParseDelivery(body)
	if err != nil || bus.Namespace(e.Subject) != namespace || name != byID+e.Id && name != strconv.FormatUint(e.Index, 10) {
		return nil, fmt.Errorf("%s answered %.80q, wanted event %s of %s; is it a bus server?", shown(s.url), body, name, namespace)
	}
	return &e, nil
}

// rest tells whether any event from an index on matches. Without patterns all do that
// a stream has, and none is sent to know that.
func (s *hostSource) rest(ctx context.Context, w wanted, from uint64) (bool, error) {
	if len(w.patterns) == 0 && !s.withheld(ctx, w.namespace, from) {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	unknown := false // in a gap there may have been some, unless they were deleted
	options := []client.GetOption{client.WithStartFrom("#" + strconv.FormatUint(from, 10)), client.WithUntilNewest()}
	for _, err := range s.client.Get(ctx, append(options, w.subjects()...)...) {
		if err == nil {
			return true, nil // one is enough
		}
		gap, ok := errors.AsType[*client.GapError](err)
		unknown = unknown || !ok || gap.Reason != bus.RemovedDeleted
	}
	return unknown, context.Cause(ctx)
}

// ask reads what the server says at a path below its namespaces.
func (s *hostSource) ask(ctx context.Context, path string, most int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(s.url, "/")+"/v1/namespaces/"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > most {
		return nil, fmt.Errorf("%s answered more than %d bytes; is it a bus server?", req.URL.Redacted(), most)
	}
	if resp.StatusCode == http.StatusOK {
		return body, nil
	}
	refusal := &bus.Error{}
	if json.Unmarshal(body, refusal) != nil || refusal.Code == "" {
		return nil, &answerError{resp.StatusCode, fmt.Sprintf("%s answered %s; is it the URL of a bus server?", req.URL.Redacted(), resp.Status)}
	}
	refusal.Status = resp.StatusCode
	return nil, refusal
}
