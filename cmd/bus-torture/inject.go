package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// injection makes the n-th call of a kind on the directory of the logs fail. n
// is counted by strace for each thread of the server; with all, those after it
// fail too.
type injection struct {
	call  string
	error string
	n     int
	all   bool
}

func (i injection) String() string {
	if i.all {
		return fmt.Sprintf("%s=%s from the %d. on", i.call, i.error, i.n)
	}
	return fmt.Sprintf("%s=%s at the %d.", i.call, i.error, i.n)
}

// injections are all that are tried. What a server calls while it opens its
// directory comes first: some 15 opens and syncs, 5 writes, 4 renames.
func injections() []injection {
	var all []injection
	add := func(call string, errors []string, upTo int) {
		for n := 1; n <= upTo; n++ {
			for _, e := range errors {
				all = append(all, injection{call, e, n, false})
			}
		}
	}
	add("fdatasync", []string{"EIO", "ENOSPC"}, 10)
	add("pwrite64", []string{"EIO", "ENOSPC"}, 12)
	add("fsync", []string{"EIO"}, 16)
	add("openat", []string{"EIO", "ENOSPC"}, 16)
	add("renameat", []string{"EIO", "ENOSPC"}, 5)
	add("ftruncate", []string{"EIO"}, 5)
	for _, n := range []int{6, 10, 20} {
		all = append(all, injection{"pwrite64", "ENOSPC", n, true}, injection{"pwrite64", "EIO", n, true},
			injection{"fdatasync", "EIO", n, true}, injection{"fsync", "EIO", n + 10, true})
	}
	return all
}

// faulty counts what came of them.
type faulty struct {
	lives, hit, refused, failed, full int
	answers                           int
	sum                               verdict
}

// errors runs D9 with the real binary: a call of the server fails.
func (h *harness) errors(ctx context.Context, check, binary string, n int) error {
	begun := time.Now()
	strace, err := found("strace")
	if err != nil {
		return err
	}
	all := injections()
	// A short run takes some of each round; which, the seed says.
	order := rand.New(rand.NewPCG(h.seed, 9)).Perm(len(all))
	var f faulty
	order = order[:min(n, len(order))]
	if h.life >= 0 {
		order = []int{h.life % len(all)}
	}
	for _, number := range order {
		if ctx.Err() != nil || f.sum.faults() > 0 {
			break
		}
		if err := h.injected(ctx, check, binary, strace, number, all[number], &f); err != nil {
			return fmt.Errorf("life %d, %v: %w", number, all[number], err)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	h.say(check, "%d lives with %d failed calls: %d did not start, %d logs took no more, %d publishes found no space, %d events answered: %s; %s",
		f.lives, f.hit, f.refused, f.failed, f.full, f.answers, &f.sum, time.Since(begun).Round(time.Second))
	switch {
	case f.sum.faults() > 0:
		return fmt.Errorf("%w:\n%s", errFault, f.sum.told())
	case h.life < 0 && (f.hit == 0 || f.failed == 0 || f.refused == 0):
		return errors.New("too few of the calls were made to fail: nothing is shown")
	}
	return nil
}

// injected is one life with a call that fails, and the life after it.
func (h *harness) injected(ctx context.Context, check, binary, strace string, number int, i injection, f *faulty) error {
	l, err := h.newLife(check, binary, h.seed, number)
	if err != nil {
		return err
	}
	l.server.flags = l.drawFlags(number, []string{"always"})
	l.server.below = i.strace(strace, filepath.Join(l.dir, "strace"), l.server.dir)
	err = l.endure(ctx, f)
	f.lives++
	f.sum.add(&l.sum)
	f.answers += l.journal.answersSoFar()
	f.full += l.journal.refusals["no_space"]
	return l.end(err)
}

// strace runs the server, which stays our child, with the injection on the files
// of the logs: the calls of the runtime and of the network are not touched.
func (i injection) strace(path, out, dir string) []string {
	when := fmt.Sprintf("when=%d", i.n)
	if i.all {
		when += "+"
	}
	args := []string{path, "-D", "-f", "-y", "-qq", "-o", out, "-e", "trace=" + i.call, "-e", "inject=" + i.call + ":error=" + i.error + ":" + when}
	for _, name := range []string{"", "lock", "a.log", "b.log", "a.log.tmp", "b.log.tmp", "a.idx", "b.idx", "a.idx.tmp", "b.idx.tmp"} {
		args = append(args, "-P", filepath.Join(dir, name))
	}
	return args
}

// endure loads the server while something fails, and looks at what is left.
func (l *life) endure(ctx context.Context, f *faulty) error {
	refused := f.refused
	err := l.server.start(ctx)
	if err == nil {
		err = l.suffer(ctx)
	} else if errors.Is(err, errFault) && l.server.refusedToStart() {
		f.refused++
		err = nil
	}
	if err != nil {
		return err
	}
	f.hit += len(l.madeToFail())
	signal := []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM}[l.rand.IntN(2)]
	code, err := l.server.stop(signal)
	failed := l.journal.reopen()
	if err == nil && code > 0 && failed == 0 && len(l.journal.refusals) == 0 && f.refused == refused {
		err = fmt.Errorf("%w: got exit code %d after %v, though nobody was told of a failure", errFault, code, signal)
	}
	if err != nil {
		return err
	}
	l.server.below = nil
	f.failed += failed
	if err := l.server.start(ctx); err != nil {
		return fmt.Errorf("after the disk works again: %w", err)
	}
	if v, err := l.look(ctx, l.journal.now(), false); err != nil || v.faults() > 0 {
		return err
	}
	before := l.journal.answersSoFar()
	if err := l.publishUntil(ctx, "again", func() bool { return l.journal.answersSoFar() > before+20 }); err != nil {
		return err
	}
	if l.journal.reopen() > 0 {
		return fmt.Errorf("%w: a log failed though nothing was made to fail", errFault)
	}
	if _, err = l.look(ctx, l.journal.now(), false); err != nil {
		return err
	}
	if all := l.server.complaints(false); len(all) > 0 {
		return fmt.Errorf("%w: the server said what it should not: %s", errFault, all[0])
	}
	return l.server.verify(ctx)
}

// suffer publishes until a call has failed or there is enough, then holds the
// server to what it has said: readers go on, and a log whose sync or write has
// failed says so.
func (l *life) suffer(ctx context.Context) error {
	opened := len(l.madeToFail())
	for deadline := time.Now().Add(time.Second); ; {
		answers := l.journal.answersSoFar()
		done := func() bool {
			return l.journal.answersSoFar() > answers+60 || len(l.madeToFail()) > opened || time.Now().After(deadline)
		}
		if err := l.publishUntil(ctx, fmt.Sprintf("l%d", answers), done); err != nil {
			return err
		}
		if len(l.madeToFail()) > opened || time.Now().After(deadline) || l.journal.answersSoFar() > 200 {
			break
		}
	}
	// And some more, to a log that has failed or one that goes on.
	until := time.Now().Add(100 * time.Millisecond)
	if err := l.publishUntil(ctx, "more", func() bool { return time.Now().After(until) }); err != nil {
		return err
	}
	var v *verdict
	var err error
	for range 3 { // an open that fails may be the reader's own, each thread has one
		if v, err = l.look(ctx, l.journal.now(), false); err == nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("reading beside a failed call: %w", err)
	}
	if v.faults() > 0 {
		return nil // the sum has it
	}
	return l.toldOf(opened)
}

// toldOf: a failed sync, or a failed write, of a log that serves is told to those who publish.
func (l *life) toldOf(opened int) error {
	for _, line := range l.madeToFail()[opened:] {
		for _, namespace := range namespaces {
			of := strings.Contains(line, filepath.Join(l.server.dir, namespace+".log")+">")
			write, sync := strings.Contains(line, "pwrite64("), strings.Contains(line, "fdatasync(")
			if of && (write || sync) && !isSpace(line) && !l.journal.wasRefused(namespace) {
				return fmt.Errorf("%w: nobody who published to %s was told of %s", errFault, namespace, line)
			}
		}
	}
	return nil
}

// isSpace tells zeros ahead of a log's end that had no room: they only make later
// commits faster, and no frame starts with one.
func isSpace(line string) bool {
	return strings.Contains(line, `, "\0\0\0\0`) && strings.Contains(line, "ENOSPC")
}

// publishUntil loads the server for as long as done says no.
func (l *life) publishUntil(ctx context.Context, name string, done func() bool) error {
	crowd := newCrowd(ctx, name, l.server.url(), l.journal, l.rand)
	defer crowd.end()
	for deadline := time.Now().Add(patience); !done() && ctx.Err() == nil; pause(ctx, 2*time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: publishing has come to nothing for %s", errFault, patience)
		}
	}
	return ctx.Err()
}

// madeToFail are the calls that strace has made to fail up to now.
func (l *life) madeToFail() []string {
	b, err := os.ReadFile(filepath.Join(l.dir, "strace"))
	if err != nil {
		return nil // it has not begun
	}
	var all []string
	for line := range bytes.Lines(b) {
		if bytes.Contains(line, []byte("(INJECTED)")) {
			all = append(all, string(bytes.TrimSpace(line)))
		}
	}
	return all
}

// refusedToStart says whether the process has ended by itself and in good order.
func (s *server) refusedToStart() bool {
	select {
	case <-s.ended:
		code := s.cmd.ProcessState.ExitCode()
		return code == 1 && strings.Contains(s.said(), "bus: ")
	default:
		return false
	}
}
