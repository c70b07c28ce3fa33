package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// The disk that gets full, and what lies on it beside the logs and can be
// removed to make room.
const fullSize = 32 << 20

var fullBallast = []int{4 << 20, 25 << 20}

// full runs the other half of D9: a small disk is filled until publishing is
// refused; who reads and acknowledges goes on, and who publishes does so again
// as soon as there is room.
func (h *harness) full(ctx context.Context, check, binary string) error {
	begun := time.Now()
	l, err := h.newLife(check, binary, h.seed, max(h.life, 0))
	if err != nil {
		return err
	}
	mount := filepath.Join(l.dir, "mnt")
	err = os.Mkdir(mount, 0o700)
	if err == nil {
		err = syscall.Mount("tmpfs", mount, "tmpfs", 0, fmt.Sprintf("size=%d", fullSize))
	}
	if err != nil {
		return l.end(fmt.Errorf("a small disk: %w", err))
	}
	l.release = func() error { return syscall.Unmount(mount, syscall.MNT_DETACH) }
	l.server.dir = filepath.Join(mount, "data")
	l.server.flags = l.drawFlags(int(h.seed%2), []string{"always"})
	f := &filled{life: l, ballast: []string{filepath.Join(mount, "one"), filepath.Join(mount, "two")}}
	err = f.live(ctx)
	refused, answers := l.journal.refusals["no_space"], l.journal.answersSoFar()
	if err = l.end(err); err != nil {
		return err
	}
	h.say(check, "%d publishes found no space, twice until there was room; %d acks meanwhile; %d events answered: %s; %s",
		refused, f.acks, answers, &l.sum, time.Since(begun).Round(100*time.Millisecond))
	if l.sum.faults() > 0 {
		return fmt.Errorf("%w:\n%s", errFault, l.sum.told())
	}
	return nil
}

// filled is a life on a disk that gets full.
type filled struct {
	*life
	ballast []string
	acks    int // taken while the disk was full
}

func (f *filled) live(ctx context.Context) error {
	for i, path := range f.ballast {
		if err := os.WriteFile(path, make([]byte, fullBallast[i]), 0o600); err != nil {
			return err
		}
	}
	if err := f.server.start(ctx); err != nil {
		return err
	}
	if err := f.fillTwice(ctx); err != nil {
		return err
	}
	// On the full disk it is killed, and opens; it is stopped, and opens.
	if err := errors.Join(f.server.kill(), f.server.start(ctx)); err != nil {
		return err
	}
	if _, err := f.look(ctx, f.journal.now(), false); err != nil {
		return err
	}
	if code, err := f.server.stop(syscall.SIGTERM); err != nil || code != 0 {
		return errors.Join(err, fmt.Errorf("%w: got exit code %d on a full disk, want 0", errFault, code))
	}
	if err := errors.Join(os.Remove(f.ballast[1]), f.server.start(ctx)); err != nil {
		return err
	}
	if err := f.goesOn(ctx, "third"); err != nil {
		return err
	}
	return f.lastLookBut(ctx)
}

// lastLookBut is lastLook, but the log may say that the disk was full.
func (f *filled) lastLookBut(ctx context.Context) error {
	if _, err := f.look(ctx, f.journal.now(), false); err != nil {
		return err
	}
	if all := f.server.complaints(false); len(all) > 0 {
		return fmt.Errorf("%w: the server said what it should not: %s", errFault, all[0])
	}
	return f.server.verify(ctx)
}

// fillTwice fills the disk, makes room below the running server, and fills it again.
func (f *filled) fillTwice(ctx context.Context) error {
	watching, stop := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer stop()
	for _, namespace := range namespaces {
		readers.Go(func() { watchClient(watching, f.server.url(), namespace, f.journal) })
	}
	acks := &acker{life: f.life}
	if err := errors.Join(f.goesOn(ctx, "before"), acks.connect(ctx)); err != nil {
		return err
	}
	defer acks.stream.Body.Close()
	if err := f.fill(ctx, "first"); err != nil {
		return err
	}
	if _, err := f.look(ctx, f.journal.now(), false); err != nil {
		return err
	}
	if err := f.acknowledge(ctx, acks); err != nil {
		return err
	}
	if err := os.Remove(f.ballast[0]); err != nil {
		return err
	}
	if err := f.goesOn(ctx, "second"); err != nil {
		return err
	}
	if err := f.fill(ctx, "again"); err != nil {
		return err
	}
	return f.caughtUp(ctx)
}

// fill publishes until each namespace has been refused for want of space, and
// goes on when it is.
func (f *filled) fill(ctx context.Context, name string) error {
	f.journal.forget()
	before := f.journal.refusalsOf("no_space")
	return f.publishUntil(ctx, name, func() bool {
		return f.journal.refusalsOf("no_space") > before+100 && !slices.ContainsFunc(namespaces, func(n string) bool { return !f.journal.wasRefused(n) })
	})
}

// goesOn publishes until each namespace takes events: without a restart, and
// though nobody has told the server that there is room.
func (f *filled) goesOn(ctx context.Context, name string) error {
	before := f.journal.answersSoFar()
	if err := f.publishUntil(ctx, name, func() bool { return f.journal.answersSoFar() >= before+200 }); err != nil {
		return err
	}
	if f.journal.reopen() > 0 {
		return fmt.Errorf("%w: a log takes no more until it is reopened, though the disk was only full", errFault)
	}
	return nil
}

// acknowledge: who only reads and acknowledges needs no room.
func (f *filled) acknowledge(ctx context.Context, acks *acker) error {
	for range 10 {
		status, text := acks.next(ctx)
		if status != http.StatusAccepted {
			return fmt.Errorf("%w: an ack got %d on a full disk: %s", errFault, status, text)
		}
		f.acks++
	}
	return nil
}

// acker is a consumer that acknowledges by hand.
type acker struct {
	*life
	stream *http.Response
	lines  *json.Decoder
}

func (a *acker) connect(ctx context.Context) error {
	query := url.Values{"subject": {namespaces[0] + ".>"}, "start": {"oldest"}, "ack": {"manual"}, "redelivery": {"1h"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.server.url()+"/?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "application/x-ndjson")
	if a.stream, err = a.http.Do(r); err != nil {
		return err
	}
	a.lines = json.NewDecoder(a.stream.Body)
	if a.stream.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: a consumer got %s", errFault, a.stream.Status)
	}
	return nil
}

// next takes the next event of the stream and acknowledges it.
func (a *acker) next(ctx context.Context) (int, string) {
	var e event
	for e.Index == 0 {
		if err := a.lines.Decode(&e); err != nil {
			return 0, err.Error()
		}
	}
	query := url.Values{"consumer_id": {a.stream.Header.Get("X-BUS-CONSUMER-ID")}, "event_id": {e.Id}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, a.server.url()+"/?"+query.Encode(), nil)
	if err != nil {
		return 0, err.Error()
	}
	resp, err := a.http.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}
