package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// killsALife is how often one directory is killed before a new one is begun, so
// that a long run does not spend its time reading ever longer logs.
const killsALife = 5

// life is one directory with its server, its clients and what they know.
type life struct {
	h       *harness
	check   string
	number  int
	seed    uint64
	rand    *rand.Rand
	dir     string // holds everything of this life
	server  *server
	journal *journal
	save    func(path string) error // what the clients know
	http    *http.Client
	sum     verdict
	release func() error // what stands below the directory, nil: nothing does
	room    string       // what a log may have that rolls
}

func (h *harness) newLife(check, binary string, seed uint64, number int, flags ...string) (*life, error) {
	dir, err := os.MkdirTemp(h.work, "life-")
	if err != nil {
		return nil, err
	}
	l := &life{h: h, check: check, number: number, seed: seed, dir: dir, journal: newJournal(), http: newHTTP(),
		rand: draw(check, seed, number), room: killedRoom}
	l.save = l.journal.save
	l.server, err = newServer(binary, filepath.Join(dir, "data"), filepath.Join(dir, "log"), flags...)
	return l, err
}

// draw gives each life of each check numbers of its own, so that one can be
// lived again without those before it.
func draw(check string, seed uint64, number int) *rand.Rand {
	sum := fnv.New64a()
	sum.Write([]byte(check))
	return rand.New(rand.NewPCG(seed, sum.Sum64()+uint64(number)))
}

// end leaves nothing of it behind, but what a fault needs.
func (l *life) end(err error) error {
	err = errors.Join(err, l.server.kill())
	l.http.CloseIdleConnections()
	if (err != nil || l.sum.faults() > 0) && !l.h.expected && !l.h.stopped() {
		path := filepath.Join(l.dir, "journal.ndjson")
		err = errors.Join(err, l.save(path))
		l.h.keep(l.check, l.server.log, path, l.server.dir)
		l.h.repeat(l.check, l.seed, l.number)
	}
	if l.release != nil {
		err = errors.Join(err, l.release())
	}
	return errors.Join(err, os.RemoveAll(l.dir))
}

// look reads everything back and judges it. Publishers may go on meanwhile: what
// was answered up to since has to be there.
func (l *life) look(ctx context.Context, since int64, forgive bool) (*verdict, error) {
	read := make(map[string][]event)
	for _, namespace := range namespaces {
		all, err := readAll(ctx, l.http, l.server.url(), namespace)
		if err != nil {
			return nil, err
		}
		read[namespace] = all
	}
	v := l.journal.judge(read, since, forgive)
	sum := l.sum.events
	l.sum.add(v)
	l.sum.events = max(sum, v.events) // the same ones are read again and again
	return v, nil
}

// kills runs D1: kill -9 at a random moment, start, read all back.
func (h *harness) kills(ctx context.Context, check, binary string, n int) error {
	begun := time.Now()
	var sum verdict
	done, answers := 0, 0
	for number := 0; done < n && ctx.Err() == nil; number++ {
		if h.life >= 0 {
			number, n = h.life, 0 // the only one
		}
		l, err := h.newLife(check, binary, h.seed, number)
		if err != nil {
			return err
		}
		l.server.flags = l.drawFlags(number, []string{"always", "interval=100ms", "always", "os"})
		want := killsALife
		if n > 0 {
			want = min(want, n-done)
		}
		killed, err := l.killed(ctx, want)
		done, answers = done+killed, answers+l.journal.answersSoFar()
		if err = l.end(err); err != nil {
			return fmt.Errorf("life %d (%v) after %d kills: %w", number, l.server.flags, done, err)
		}
		sum.add(&l.sum)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	h.say(check, "%d kills, %d events answered, %d of %d in the logs unanswered: %s; %s", done, answers,
		sum.unanswered, sum.events, &sum, time.Since(begun).Round(time.Second))
	if sum.faults() > 0 {
		return fmt.Errorf("%w:\n%s", errFault, sum.told())
	}
	return nil
}

// A log of many files has closed ones that are made, renamed and found again while
// the ground goes. Each is a sixteenth of what the log may have in all, which is
// more than a life publishes: nothing is deleted of it.
const (
	killedRoom = "48MiB"
	cutRoom    = "8MiB" // disks of their own are slow
)

// drawFlags gives each life another server: sealed or not, each durability,
// several block sizes, in one file or in many.
func (l *life) drawFlags(number int, syncs []string) []string {
	flags := []string{"--sync", syncs[number/2%len(syncs)], "--block-size", []string{"4096", "512", "65536"}[l.rand.IntN(3)]}
	if number%2 == 1 {
		flags = append(flags, "--secret-key", secret)
	}
	if l.rand.IntN(2) == 0 {
		for _, namespace := range namespaces {
			flags = append(flags, "--retention", namespace+"="+l.room+",discard=new")
		}
	}
	return flags
}

// killed is one life under load. Clients go on over the kills; at the end all is
// quiet, and then everything has to be there.
func (l *life) killed(ctx context.Context, kills int) (int, error) {
	if err := l.server.start(ctx); err != nil {
		return 0, err
	}
	crowd := newCrowd(ctx, "k", l.server.url(), l.journal, l.rand)
	defer crowd.end()
	watching, stop := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer stop()
	for _, namespace := range namespaces {
		readers.Go(func() { watchClient(watching, l.server.url(), namespace, l.journal) })
	}
	for k := range kills {
		pause(ctx, 50*time.Millisecond+time.Duration(l.rand.Int64N(int64(1950*time.Millisecond))))
		since := l.journal.now()
		if err := errors.Join(ctx.Err(), l.server.kill()); err != nil {
			return k, err
		}
		if l.rand.IntN(4) == 0 { // and once more while it opens
			if err := errors.Join(l.falseStart(ctx), l.server.kill()); err != nil {
				return k, err
			}
		}
		if err := l.server.start(ctx); err != nil {
			return k + 1, err // one that does not open is a fault
		}
		if !l.interval() {
			since = l.journal.now() // of an interval readers see nothing before it is over
		}
		if v, err := l.look(ctx, since, false); err != nil || v.faults() > 0 {
			return k + 1, err
		}
	}
	crowd.end()
	if err := l.caughtUp(ctx); err != nil {
		return kills, err
	}
	return kills, l.lastLook(ctx)
}

// interval says whether answers come before the disk has them, as they say.
func (l *life) interval() bool { return strings.HasPrefix(l.server.flags[1], "interval") }

// falseStart starts a server that is given no time to listen: what it cuts off,
// puts aside and makes anew when it opens has to bear being broken off too.
func (l *life) falseStart(ctx context.Context) error {
	if err := l.server.launch(); err != nil {
		return err
	}
	pause(ctx, time.Duration(l.rand.Int64N(int64(60*time.Millisecond))))
	return nil
}

// caughtUp waits until the readers that have lived through all kills have got
// everything there is.
func (l *life) caughtUp(ctx context.Context) error {
	for _, namespace := range namespaces {
		want, err := tail(ctx, l.http, l.server.url(), namespace)
		if err != nil {
			return err
		}
		for deadline := time.Now().Add(patience); uint64(l.journal.seenIn(namespace)) < want; pause(ctx, 5*time.Millisecond) {
			if time.Now().After(deadline) || ctx.Err() != nil {
				return fmt.Errorf("%w: the client of %s got %d of %d events within %s", errFault, namespace, l.journal.seenIn(namespace), want, patience)
			}
		}
	}
	return nil
}

// lastLook stops the server in good order, has its directory verified, and
// reads all of it once more.
func (l *life) lastLook(ctx context.Context) error {
	code, err := l.server.stop(syscall.SIGTERM)
	if err == nil && code != 0 {
		err = fmt.Errorf("%w: got exit code %d after SIGTERM, want 0", errFault, code)
	}
	if err = errors.Join(err, l.server.verify(ctx)); err != nil {
		return err
	}
	if err := l.server.start(ctx); err != nil {
		return err
	}
	if _, err := l.look(ctx, l.journal.now(), false); err != nil {
		return err
	}
	if all := l.server.complaints(true); len(all) > 0 {
		return fmt.Errorf("%w: the server said %d times what it should not, first: %s", errFault, len(all), all[0])
	}
	return nil
}
