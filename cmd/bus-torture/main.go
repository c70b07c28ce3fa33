// Command bus-torture runs the real bus under kill -9, power cuts and the like,
// and checks that it has kept its word. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// settings are the command line.
type settings struct {
	checks    []string
	seed      uint64
	life      int
	kills     int
	race      int
	cuts      int
	images    imaging
	histories int
	errors    int
	acks      int
	removals  int
	many      manyStreams
	lives     int
	duration  time.Duration
	work      string
	evidence  string
	tags      string
}

func main() {
	if code, disk := serveDisk(os.Args[1:]); disk {
		os.Exit(code)
	}
	s, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		os.Exit(2)
	}
	if code, apart := liveApart(); apart {
		os.Exit(code)
	}
	log.SetOutput(io.Discard) // net/http speaks there of connections that were killed
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, s, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func parse(args []string, out io.Writer) (*settings, error) {
	s := &settings{}
	f := flag.NewFlagSet("bus-torture", flag.ContinueOnError)
	f.SetOutput(out)
	checks := f.String("checks", strings.Join(checkNames(), ","), "which to run")
	f.Uint64Var(&s.seed, "seed", uint64(time.Now().UnixNano())%1e9, "configurations, sizes and delays come from it; with --duration it goes up by one a round")
	f.IntVar(&s.life, "life", -1, "only this life of each check, to repeat a fault")
	f.IntVar(&s.kills, "kills", 50, "how often kills kills a server")
	f.IntVar(&s.race, "race-kills", 20, "how often race kills one with the race detector")
	f.IntVar(&s.cuts, "cuts", 100, "how often each of the checks of cuts cuts the power")
	f.IntVar(&s.images.points, "image-points", 18, "between how many flushes each of the checks of images takes the power")
	f.IntVar(&s.images.subsets, "image-subsets", 5, "how many disks with other unflushed sectors it makes at each")
	f.IntVar(&s.images.perLife, "image-life", 6, "how many of the points belong to one load")
	f.IntVar(&s.images.second, "image-again", 1, "how many disks it makes at each of a second cut, while the first is opened")
	f.IntVar(&s.histories, "histories", 8, "how many histories each of the checks of histories makes")
	f.IntVar(&s.errors, "errors", 40, "how many of the calls that can fail errors makes fail; 1000: all of them")
	f.IntVar(&s.acks, "ack-kills", 12, "how often acks kills a server below the workers of a named consumer")
	f.IntVar(&s.removals, "removal-kills", 12, "how often removals kills a server below who publishes, deletes and reads")
	f.IntVar(&s.many.streams, "streams", 2000, "how many streams many opens")
	f.DurationVar(&s.many.load, "load", 5*time.Second, "for how long it publishes to them")
	f.IntVar(&s.lives, "lives", 2000, "how many lives of the simulation lives runs")
	f.DurationVar(&s.duration, "duration", 0, "go on with further rounds for so long; 0: one round")
	f.StringVar(&s.work, "work", os.TempDir(), "where the logs and images of disks are while it runs")
	f.StringVar(&s.evidence, "evidence", os.TempDir(), "where what a fault leaves is kept")
	f.StringVar(&s.tags, "tags", "", "build tags of the bus that is tortured")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(*checks, ",") {
		if !slices.Contains(checkNames(), name) {
			fmt.Fprintf(out, "check %q: want some of %s\n", name, strings.Join(checkNames(), ","))
			return nil, errors.New("unknown check")
		}
		s.checks = append(s.checks, name)
	}
	return s, nil
}

// run does one round, or as many as fit. The first fault ends it.
func run(ctx context.Context, s *settings, out io.Writer) error {
	work, err := os.MkdirTemp(s.work, "bus-torture-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	h := &harness{out: out, work: work, evidence: s.evidence, seed: s.seed, tags: s.tags, life: s.life, mounts: ownMounts(),
		stopped: func() bool { return ctx.Err() != nil }}
	for begun := time.Now(); ; h.seed++ {
		fmt.Fprintf(out, "seed %d\n", h.seed)
		if err := h.round(ctx, s); err != nil {
			return err
		}
		if time.Since(begun) >= s.duration {
			return nil
		}
	}
}

// round runs each check. One that fails does not keep the others from running.
func (h *harness) round(ctx context.Context, s *settings) error {
	var failed []error
	for _, name := range s.checks {
		err := h.check(ctx, s, name)
		switch {
		case ctx.Err() != nil:
			return errors.New("interrupted before the end: what was not run is not shown")
		case errors.Is(err, errFault):
			h.say(name, "FAULT: %v", err)
			failed = append(failed, fmt.Errorf("%s, seed %d: %s", name, h.seed, opening(err.Error())))
		case err != nil:
			h.say(name, "COULD NOT RUN: %v", err)
			failed = append(failed, fmt.Errorf("%s could not run: %s", name, opening(err.Error())))
		}
	}
	return errors.Join(failed...)
}
