package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// maxBroken is how many disks a run bears on which the file system itself was
// damaged by a cut. It is rare, and would be suspicious if it were not.
const maxBroken = 2

// cutsALife is how often one disk loses its power before there is a new one.
const cutsALife = 5

// powered is a life on a disk that loses its power.
type powered struct {
	*life
	volume *volume
	ran    int // how often there was load, for names of events
	cuts   int
}

// cuts runs D2 on the given file systems: cut the power under load, mount again,
// start, read all back.
func (h *harness) cuts(ctx context.Context, check, binary string, n int, on []fileSystem) error {
	begun := time.Now()
	var sum verdict
	done, answers, seen, late, broken := 0, 0, 0, 0, 0
	for number := 0; done < n && ctx.Err() == nil; number++ {
		if h.life >= 0 {
			number, n = h.life, 0 // the only one
		}
		want := cutsALife
		if n > 0 {
			want = min(want, n-done)
		}
		l, cut, err := h.powerLife(ctx, check, binary, number, on[number%len(on)], want)
		done += cut
		if errors.Is(err, errFileSystem) && broken < maxBroken && n > 0 {
			broken++
			done -= cut // nothing was judged
			h.say(check, "life %d does not count: %v", number, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("life %d after %d cuts: %w", number, done, err)
		}
		sum.add(&l.sum)
		late += l.journal.late
		answers += l.journal.answersSoFar()
		seen += l.journal.seenIn(namespaces[0]) + l.journal.seenIn(namespaces[1])
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	h.say(check, "%d cuts, %d events answered, %d seen, %d of %d in the logs unanswered, %d gone that were answered as not yet durable, %d answers after the cut: %s; %s",
		done, answers, seen, sum.unanswered, sum.events, sum.forgiven, late, &sum, time.Since(begun).Round(time.Second))
	if sum.faults() > 0 {
		return fmt.Errorf("%w:\n%s", errFault, sum.told())
	}
	return nil
}

// powerLife is one disk with its cuts, and leaves nothing mounted.
func (h *harness) powerLife(ctx context.Context, check, binary string, number int, fs fileSystem, cuts int, flags ...string) (*life, int, error) {
	l, err := h.newLife(check, binary, h.seed, number)
	if err != nil {
		return nil, 0, err
	}
	v, err := newVolume(ctx, l.dir, fs)
	if err != nil {
		return nil, 0, errors.Join(err, os.RemoveAll(l.dir))
	}
	l.server.dir, l.room = dataOn(v), cutRoom
	l.server.flags = l.drawFlags(number, []string{"always", "always", "interval=100ms"})
	l.server.flags = append(l.server.flags, flags...)
	p := &powered{life: l, volume: v}
	err = p.live(ctx, cuts)
	if err != nil {
		err = fmt.Errorf("%s, %v: %w", fs.name, l.server.flags, err)
	}
	// Of this alone the bus is innocent. A complaint of the tool's own is not: the
	// cut leaves bitmaps of ext4 out of step that nobody has used yet.
	unclean := strings.Contains(fmt.Sprint(err, l.sum.told()), syscall.EUCLEAN.Error())
	l.release = func() error { // after what is on the disk was kept
		err := v.discard()
		if err == nil && unclean {
			err = fs.check(ctx, v.image)
		}
		return err
	}
	return l, p.cuts, l.end(err)
}

func (p *powered) live(ctx context.Context, cuts int) error {
	if err := p.server.start(ctx); err != nil {
		return err
	}
	for p.cuts < cuts {
		if err := p.once(ctx); err != nil || p.sum.faults() > 0 {
			return err
		}
	}
	if err := p.server.verify(ctx); err != nil { // beside the server, which it allows
		return err
	}
	if all := p.server.complaints(false); len(all) > 0 {
		return fmt.Errorf("%w: the server said what it should not: %s", errFault, all[0])
	}
	return nil
}

// once loads the server, cuts the power, and looks at what is there.
func (p *powered) once(ctx context.Context) error {
	names, err := namesIn(p.server.dir)
	if err != nil {
		return err
	}
	// Half of the disks lose their power as soon as the first server listens:
	// what it has made then has to be there, before anything was published.
	end := func() {}
	if young := p.ran == 0 && p.rand.IntN(2) == 0; !young {
		end = p.load(ctx)
		err = p.wait(ctx)
	}
	p.ran++
	err = errors.Join(err, p.cut(ctx, end))
	if err == nil && p.rand.IntN(4) == 0 { // and once more while it opens
		err = errors.Join(p.falseStart(ctx), p.cut(ctx, func() {}))
	}
	if err != nil {
		return err
	}
	return p.after(ctx, names)
}

// cut takes the power away, ends the server and its clients, and brings the disk
// back with what is on it.
func (p *powered) cut(ctx context.Context, end func()) error {
	p.journal.goDark(true)
	err := p.volume.cut()
	pause(ctx, time.Duration(p.rand.Int64N(int64(20*time.Millisecond)))) // the server is to find out
	err = errors.Join(err, p.server.kill())
	end()
	p.journal.goDark(false)
	p.journal.reopen() // what this server said of its logs, the next one opens again
	if err = errors.Join(err, p.volume.off()); err != nil {
		return err
	}
	p.cuts++
	return p.volume.on()
}

// load begins to publish and to read, and returns what ends both.
func (p *powered) load(ctx context.Context) func() {
	watching, stop := context.WithCancel(ctx)
	var readers sync.WaitGroup
	readers.Go(func() { watchLines(watching, p.http, p.server.url(), p.journal) })
	readers.Go(func() { watchTails(watching, p.http, p.server.url(), p.journal) })
	readers.Go(func() { watchClient(watching, p.server.url(), namespaces[0], p.journal) })
	crowd := newCrowd(ctx, fmt.Sprintf("c%d", p.ran), p.server.url(), p.journal, p.rand)
	return func() {
		crowd.end()
		stop()
		readers.Wait()
	}
}

// wait lets a random time pass, and in one case of three kills the server and
// starts it again. What a killed server has written and not synced is in memory:
// the next one finds it there, and must not show it before it is on the disk.
func (p *powered) wait(ctx context.Context) error {
	pause(ctx, time.Duration(p.rand.Int64N(int64(400*time.Millisecond))))
	if p.rand.IntN(3) > 0 {
		return nil
	}
	err := errors.Join(p.server.kill(), p.server.start(ctx))
	pause(ctx, time.Duration(p.rand.Int64N(int64(60*time.Millisecond))))
	return err
}

// after looks at the disk as it is with the power back. When no server starts on
// it, what can be read by other means is judged, to say how much is lost.
func (p *powered) after(ctx context.Context, names []string) error {
	var v verdict
	for _, name := range names {
		if isGone(p.server.dir, name) {
			v.wrong(&v.names, "%s was there when the server listened, and is gone", name)
		}
	}
	err := p.server.start(ctx)
	if err == nil {
		_, err = p.look(ctx, p.journal.now(), p.interval())
	} else if errors.Is(err, errFault) {
		v.wrong(&v.closed, "%v", err)
		v.add(p.journal.judge(p.server.dump(ctx), p.journal.now(), p.interval()))
		err = nil
	}
	p.sum.add(&v)
	return err
}

// namesIn are the logs and, where they do not roll, their indexes. A name that a
// server has made and works with is durable before it listens.
func namesIn(dir string) ([]string, error) {
	for _, namespace := range namespaces {
		if !isThere(dir, namespace+".log") {
			return nil, fmt.Errorf("%w: there is no %s.log when the server listened", errFault, namespace)
		}
	}
	all, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err == nil && len(all) == len(namespaces) {
		indexes, _ := filepath.Glob(filepath.Join(dir, "*.idx")) // the pattern is good
		all = append(all, indexes...)
	}
	for i, path := range all {
		all[i] = filepath.Base(path)
	}
	return all, err
}

func isThere(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

// isGone reports whether a name that was there is not, nor in the hands of a roll
// that was cut off: that has named the log as a closed segment, and its index with
// it, and not yet the next one.
func isGone(dir, name string) bool {
	log := strings.TrimSuffix(name, ".idx")
	log = strings.TrimSuffix(log, ".log")
	closed, _ := filepath.Glob(filepath.Join(dir, log+".*.log")) // the pattern is good
	return !isThere(dir, name) && (len(closed) == 0 || !strings.HasSuffix(name, ".idx") && !isThere(dir, log+".log.tmp"))
}
