package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// cutsALife is how often one disk loses its power before there is a new one.
const cutsALife = 5

// powered is a life on a disk that loses its power.
type powered struct {
	*life
	volume *volume
	ran    int // how often a server was started, for names of events
}

// cuts runs D2 on the given file systems: cut the power under load, mount again,
// start, read all back.
func (h *harness) cuts(ctx context.Context, check, binary string, n int, on []fileSystem) error {
	begun := time.Now()
	var sum verdict
	done, answers, seen, late := 0, 0, 0, 0
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
	h.say(check, "%d cuts, %d events answered, %d seen, %d of %d in the logs unanswered, %d gone that were answered as not yet durable, %d answers after the cut: %s; did not open 0; %s",
		done, answers, seen, sum.unanswered, sum.events, sum.forgiven, late, &sum, time.Since(begun).Round(time.Second))
	if sum.faults() > 0 {
		return fmt.Errorf("%w:\n%s", errFault, sum.told())
	}
	return nil
}

// powerLife is one disk with its cuts, and leaves nothing mounted.
func (h *harness) powerLife(ctx context.Context, check, binary string, number int, fs fileSystem, cuts int) (*life, int, error) {
	l, err := h.newLife(check, binary, h.seed, number)
	if err != nil {
		return nil, 0, err
	}
	v, err := newVolume(ctx, l.dir, fs)
	if err != nil {
		return nil, 0, errors.Join(err, os.RemoveAll(l.dir))
	}
	l.release = v.discard                                 // after what is on the disk was kept
	l.server.dir = filepath.Join(v.mount, "deep", "data") // directories that it has to make itself
	l.server.flags = l.drawFlags(number, []string{"always", "always", "interval=100ms"})
	p := &powered{life: l, volume: v}
	done, err := p.live(ctx, cuts)
	if err != nil {
		err = fmt.Errorf("%s, %v: %w", fs.name, l.server.flags, err)
	}
	return l, done, l.end(err)
}

func (p *powered) live(ctx context.Context, cuts int) (int, error) {
	if err := p.server.start(ctx); err != nil {
		return 0, err
	}
	for done := range cuts {
		if err := p.once(ctx); err != nil {
			return done, err
		}
		if p.sum.faults() > 0 {
			return done + 1, nil
		}
	}
	if err := p.server.verify(ctx); err != nil { // beside the server, which it allows
		return cuts, err
	}
	if all := p.server.complaints(false); len(all) > 0 {
		return cuts, fmt.Errorf("%w: the server said what it should not: %s", errFault, all[0])
	}
	return cuts, nil
}

// once loads the server, cuts the power, and looks at what is there.
func (p *powered) once(ctx context.Context) error {
	names, err := logNames(p.server.dir)
	if err != nil {
		return err
	}
	crowd, readers := p.load(ctx)
	// One cut in four comes as soon as the server listens: what it has made then
	// has to be there, before anything was published.
	if p.rand.IntN(4) > 0 {
		pause(ctx, time.Duration(p.rand.Int64N(int64(400*time.Millisecond))))
	}
	if p.rand.IntN(3) == 0 {
		if err := errors.Join(p.server.kill(), p.server.start(ctx)); err != nil {
			return errors.Join(err, crowd.end(), readers())
		}
		// What a killed server has written and not synced is in memory. The next
		// one finds it there, and must not show it before it is on the disk.
		pause(ctx, time.Duration(p.rand.Int64N(int64(60*time.Millisecond))))
	}
	p.journal.goDark(true)
	err = p.volume.cut()
	pause(ctx, time.Duration(p.rand.Int64N(int64(20*time.Millisecond)))) // it must not answer any more
	err = errors.Join(err, p.server.kill(), crowd.end(), readers())
	if err = errors.Join(err, p.volume.off()); err != nil {
		return err
	}
	if err := p.volume.on(); err != nil {
		return fmt.Errorf("after the cut: %w", err)
	}
	p.journal.goDark(false)
	return p.after(ctx, names)
}

// load begins to publish and to read.
func (p *powered) load(ctx context.Context) (*crowd, func() error) {
	p.ran++
	watching, stop := context.WithCancel(ctx)
	var readers sync.WaitGroup
	readers.Go(func() { watchLines(watching, p.http, p.server.url(), p.journal) })
	readers.Go(func() { watchTails(watching, p.http, p.server.url(), p.journal) })
	readers.Go(func() { watchClient(watching, p.server.url(), namespaces[0], p.journal) })
	crowd := newCrowd(ctx, fmt.Sprintf("c%d", p.ran), p.server.url(), p.journal, p.rand)
	return crowd, func() error { stop(); readers.Wait(); return nil }
}

// after looks at the disk as it is with the power back.
func (p *powered) after(ctx context.Context, names []string) error {
	var gone verdict
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(p.server.dir, name)); err != nil {
			gone.wrong(&gone.names, "%s was there when the server listened: %v", name, err)
		}
	}
	p.sum.add(&gone)
	if err := p.server.start(ctx); err != nil {
		return err
	}
	_, err := p.look(ctx, p.interval())
	return err
}

// interval says whether answers come before the disk has them, as they say.
func (p *powered) interval() bool { return p.server.flags[1] != "always" }

// logNames are the files that hold events.
func logNames(dir string) ([]string, error) {
	all, err := filepath.Glob(filepath.Join(dir, "*.log"))
	for i, path := range all {
		all[i] = filepath.Base(path)
	}
	if err == nil && len(all) != len(namespaces) {
		err = fmt.Errorf("%w: got the logs %v when the server listened, want one for each of %v", errFault, all, namespaces)
	}
	return all, err
}
