package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// honestCuts is how many cuts the harness has to notice that a bus lies.
const honestCuts = 20

// lie is a bus that breaks a promise on purpose, and what shows it.
type lie struct {
	tag   string   // of the build, "" for the real one
	flags []string // beside what a life draws; the last one counts
	cuts  int      // of one disk; 1: each time another, since only the first start makes names
	what  string
	shown func(*verdict) int
}

var lies = map[string]lie{
	"nosync":    {"nosync", nil, cutsALife, "answered events lost", func(v *verdict) int { return v.lost }},
	"nodirsync": {"nodirsync", nil, 1, "names lost", func(v *verdict) int { return v.names }},
	// What --sync os says of itself, judged as if it had said always.
	"early": {"", []string{"--sync", "os"}, cutsALife, "events seen by readers and gone", func(v *verdict) int { return v.unseen }},
}

// honest cuts the power of a bus that was built to lose events, and fails when
// nothing is noticed on one of the file systems: then a row of zeros from the
// other checks would mean nothing.
func (h *harness) honest(ctx context.Context, check, binary string, l lie) error {
	quiet := *h
	quiet.expected = true
	var missed error
	for _, fs := range fileSystems {
		begun := time.Now()
		cuts, v, err := quiet.firstLoss(ctx, check, binary, l, fs)
		switch {
		case err != nil:
			return err
		case l.shown(v) == 0:
			missed = errors.Join(missed, fmt.Errorf("%w: %s on %s: nothing noticed in %d cuts (%s)", errFault, check, fs.name, cuts, v))
		default:
			h.say(check, "%s: noticed after %d cuts (%s: %d); %s; %s", fs.name, cuts, l.what, l.shown(v), v, time.Since(begun).Round(100*time.Millisecond))
		}
	}
	return missed
}

// honestImages is how many images of a disk the harness has to notice it.
const honestImages = 120

// honestOnImages is the same for what is found on the rebuilt disks.
func (h *harness) honestOnImages(ctx context.Context, check, binary string, l lie) error {
	quiet := *h
	quiet.expected = true
	var missed error
	for _, fs := range fileSystems[1:] { // one of ext4 is enough that writes nothing down within a second
		begun, images := time.Now(), 0
		var sum verdict
		want := imaging{subsets: 4, perLife: 5, enough: func(v *verdict) bool { return l.shown(v) > 0 }}
		for number := 0; images < honestImages && l.shown(&sum) == 0; number++ {
			life, err := quiet.imageLife(ctx, check, binary, number, fs, want)
			if err != nil && (!errors.Is(err, errFault) || ctx.Err() != nil) {
				return err
			}
			images += max(life.images, 1) // a life that came to nothing must not go on for ever
			sum.add(&life.sum)
		}
		if l.shown(&sum) == 0 {
			missed = errors.Join(missed, fmt.Errorf("%w: %s on %s: nothing noticed in %d images (%s)", errFault, check, fs.name, images, &sum))
			continue
		}
		h.say(check, "%s: noticed after %d images (%s: %d); %s; %s", fs.name, images, l.what, l.shown(&sum), &sum, time.Since(begun).Round(100*time.Millisecond))
	}
	return missed
}

// firstLoss lives with it until something is shown, or for honestCuts.
func (h *harness) firstLoss(ctx context.Context, check, binary string, l lie, fs fileSystem) (int, *verdict, error) {
	var sum verdict
	cuts := 0
	for number := 0; cuts < honestCuts && l.shown(&sum) == 0; number++ {
		life, done, err := h.powerLife(ctx, check, binary, number, fs, min(l.cuts, honestCuts-cuts), l.flags...)
		cuts += max(done, 1)
		// A log that does not open is what such a bus leaves too, but it is not
		// what is to be shown here.
		if err != nil && (!errors.Is(err, errFault) || ctx.Err() != nil) {
			return cuts, &sum, err
		}
		sum.add(&life.sum)
	}
	return cuts, &sum, nil
}
