package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// twice runs D12: a second server on a directory that has one is refused at
// once, says who has it, and leaves every byte as it was. Then both want it at
// the same moment, again and again, and exactly one gets it.
func (h *harness) twice(ctx context.Context, check, binary string, races int) error {
	begun := time.Now()
	l, err := h.newLife(check, binary, h.seed, 0)
	if err != nil {
		return err
	}
	if err := l.end(l.secondIsRefused(ctx)); err != nil {
		return err
	}
	for n := range races {
		l, err := h.newLife(check, binary, h.seed, n)
		if err != nil {
			return err
		}
		if err := l.end(l.race(ctx)); err != nil {
			return fmt.Errorf("race %d: %w", n, err)
		}
	}
	h.say(check, "second server refused with the pid of the first, 0 bytes changed, the first goes on; %d starts at the same time: one server each; %s",
		races, time.Since(begun).Round(time.Millisecond))
	return nil
}

func (l *life) secondIsRefused(ctx context.Context) error {
	if err := l.server.start(ctx); err != nil {
		return err
	}
	crowd := newCrowd(ctx, "t", l.server.url(), l.journal, l.rand)
	err := until(ctx, "200 answers", func() bool { return l.journal.answersSoFar() >= 200 })
	crowd.end()
	if err != nil {
		return err
	}
	before, err := sums(l.server.dir)
	if err != nil {
		return err
	}
	if err := l.refused(ctx); err != nil {
		return err
	}
	after, err := sums(l.server.dir)
	if err != nil {
		return err
	}
	for name, sum := range before {
		if after[name] != sum {
			return fmt.Errorf("%w: a second server changed %s", errFault, name)
		}
	}
	if len(after) != len(before) {
		return fmt.Errorf("%w: got %d files after a second server, want %d", errFault, len(after), len(before))
	}
	v, err := l.look(ctx, l.journal.now(), false)
	if err == nil && v.faults() > 0 {
		err = fmt.Errorf("%w: %s", errFault, v.told())
	}
	return err
}

// refused starts a second server, which has to end by itself.
func (l *life) refused(ctx context.Context) error {
	second, err := l.rival()
	if err != nil {
		return err
	}
	if err := second.start(ctx); err == nil || !strings.Contains(err.Error(), "did not open") {
		return errors.Join(fmt.Errorf("%w: want a second server to end by itself, got %w", errFault, err), second.kill())
	}
	pid := fmt.Sprintf("pid %d ", l.server.cmd.Process.Pid)
	if code := second.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(second.said(), pid) {
		return fmt.Errorf("%w: got exit code %d and %q, want 1 and %q", errFault, code, second.said(), pid)
	}
	return nil
}

// rival is another server on the same directory.
func (l *life) rival() (*server, error) {
	return newServer(l.server.binary, l.server.dir, filepath.Join(l.dir, "log2"))
}

// race starts two servers on a directory that is not there yet.
func (l *life) race(ctx context.Context) error {
	second, err := l.rival()
	if err != nil {
		return err
	}
	one, other := make(chan error, 1), make(chan error, 1)
	go func() { one <- l.server.start(ctx) }()
	go func() { other <- second.start(ctx) }()
	first, last := <-one, <-other
	err = second.kill()
	if (first == nil) == (last == nil) {
		return errors.Join(fmt.Errorf("%w: want one of two servers to get the directory, got %v and %v", errFault, first, last), err)
	}
	return err
}

// sums tells every file of a directory by its content.
func sums(dir string) (map[string]string, error) {
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		sum := sha256.Sum256(b)
		all[path] = hex.EncodeToString(sum[:])
		return err
	})
	return all, err
}
