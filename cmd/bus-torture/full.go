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
	"strconv"
	"sync"
	"syscall"
	"time"
)

// The disk that gets full, and what lies on it beside the logs and can be
// removed to make room.
const fullSize = 32 << 20

var fullBallast = []int{4 << 20, 25 << 20}

// headrooms are what the servers leave free: once nothing, so that writes fail
// half way, and once so much that none does.
var headrooms = []int64{0, 2 << 20}

// full runs the other half of D9: a small disk is filled until publishing is
// refused; who reads and acknowledges goes on, and who publishes does so again
// as soon as there is room.
func (h *harness) full(ctx context.Context, check, binary string) error {
	begun := time.Now()
	var sum verdict
	refused, acks, answers := 0, 0, 0
	for number := range headrooms {
		if h.life >= 0 && number != h.life {
			continue
		}
		f, err := h.fullOnce(ctx, check, binary, number)
		if err != nil {
			return fmt.Errorf("life %d: %w", number, err)
		}
		refused, acks = refused+f.journal.refusalsOf("no_space"), acks+f.acks
		answers += f.journal.answersSoFar()
		sum.add(&f.sum)
	}
	h.say(check, "%d publishes found no space, on each disk twice until there was room; %d acks meanwhile; %d events answered: %s; %s",
		refused, acks, answers, &sum, time.Since(begun).Round(100*time.Millisecond))
	if sum.faults() > 0 {
		return fmt.Errorf("%w:\n%s", errFault, sum.told())
	}
	return nil
}

func (h *harness) fullOnce(ctx context.Context, check, binary string, number int) (*filled, error) {
	l, err := h.newLife(check, binary, h.seed, number)
	if err != nil {
		return nil, err
	}
	mount := filepath.Join(l.dir, "mnt")
	err = os.Mkdir(mount, 0o700)
	if err == nil {
		err = syscall.Mount("tmpfs", mount, "tmpfs", 0, fmt.Sprintf("size=%d", fullSize))
	}
	if err != nil {
		return nil, l.end(fmt.Errorf("a small disk: %w", err))
	}
	l.release = func() error { return syscall.Unmount(mount, syscall.MNT_DETACH) }
	l.server.dir = filepath.Join(mount, "data")
	l.server.flags = append(l.drawFlags(int(h.seed%2), []string{"always"}), "--min-free", strconv.FormatInt(headrooms[number], 10))
	f := &filled{life: l, mount: mount, headroom: headrooms[number], ballast: []string{filepath.Join(mount, "one"), filepath.Join(mount, "two")}}
	return f, l.end(f.live(ctx))
}

// filled is a life on a disk that gets full.
type filled struct {
	*life
	mount    string
	headroom int64 // what the server leaves free
	ballast  []string
	acks     int // taken while the disk was full
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
	if err := errors.Join(f.acknowledge(ctx, acks), f.isReady(ctx, false), f.leaves()); err != nil {
		return err
	}
	if err := os.Remove(f.ballast[0]); err != nil {
		return err
	}
	if err := errors.Join(f.goesOn(ctx, "second"), f.isReady(ctx, true)); err != nil {
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

// isReady asks whether the server says what it can do.
func (f *filled) isReady(ctx context.Context, want bool) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.server.url()+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := f.http.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if got := resp.StatusCode == http.StatusOK; got != want {
		return fmt.Errorf("%w: /readyz is %d %s, with room on the disk: %v", errFault, resp.StatusCode, text, want)
	}
	return nil
}

// leaves looks whether the server has kept its hands off the last of the disk.
// What was on its way when the limit was met is stored all the same.
func (f *filled) leaves() error {
	var s syscall.Statfs_t
	if err := syscall.Statfs(f.mount, &s); err != nil {
		return err
	}
	if free := int64(s.Bavail) * s.Bsize; free < f.headroom/2 {
		return fmt.Errorf("%w: %d bytes are free, and %d were to stay so", errFault, free, f.headroom)
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
