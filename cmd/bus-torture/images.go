package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// imageAnswers is how many events of a life are answered before it ends. Each
// image is read back whole, so more would be time for few images.
const imageAnswers = 400

// imaged is a life on a disk whose every write is logged, and then on what that
// disk may hold after a power cut at any moment.
type imaged struct {
	*life
	fs     fileSystem
	base   disk                 // before the server was started
	log    []blockRecord        // since then
	began  uint64               // position when the server was started
	opened uint64               // and when it listened
	tails  map[string]uint64    // ends that were told of then, after a first cut
	names  []string             // what was there then
	since  func(cutPoint) int64 // clock, up to which what was noted has to be there
	images int
	twice  int                     // of them, after a second cut
	tailed int                     // of them, where the bus cut off what was not a whole commit
	gentle int                     // of them, made again with whole pages
	torn   int                     // of them, with sectors that no flush covered
	enough func(sum *verdict) bool // says when no further image is needed
}

// imaging says how many images are looked at.
type imaging struct {
	points  int // moments between two flushes
	subsets int // images of each
	perLife int // moments of one life
	second  int // images of a second cut at each, while the first one's is opened
	enough  func(*verdict) bool
}

// images runs D3 on file systems of one kind: log each block write of a disk
// under load, make the disk again as it may be after a power cut, and have the
// bus open it.
func (h *harness) images(ctx context.Context, check, binary string, want imaging, on []fileSystem) error {
	begun := time.Now()
	var sum verdict
	points, images, again, torn, tailed, gentle, answers := 0, 0, 0, 0, 0, 0, 0
	for number := 0; points < want.points && ctx.Err() == nil; number++ {
		if h.life >= 0 {
			number, want.points = h.life, 0 // the only one
		}
		want.enough = func(v *verdict) bool { return v.faults() > 0 }
		l, err := h.imageLife(ctx, check, binary, number, on[number%len(on)], want)
		if err != nil {
			return fmt.Errorf("life %d: %w", number, err)
		}
		sum.add(&l.sum)
		points += want.perLife
		again, tailed = again+l.twice, tailed+l.tailed
		images, torn, gentle, answers = images+l.images, torn+l.torn, gentle+l.gentle, answers+l.journal.answersSoFar()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	h.say(check, "%d images at %d flushes, %d of them cut again while they were opened, %d of them with unflushed sectors, %d with an unfinished commit, %d with whole pages since the file system bore no less, %d events answered, %d in the images: %s; %s",
		images, points, again, torn, tailed, gentle, answers, sum.events, &sum, time.Since(begun).Round(time.Second))
	if sum.faults() > 0 {
		return fmt.Errorf("%w:\n%s", errFault, sum.told())
	}
	return nil
}

// imageLife is one load and its images.
func (h *harness) imageLife(ctx context.Context, check, binary string, number int, fs fileSystem, want imaging) (*imaged, error) {
	l, err := h.newLife(check, binary, h.seed, number)
	if err != nil {
		return nil, err
	}
	i := &imaged{life: l, fs: fs, enough: want.enough}
	i.since = func(cut cutPoint) int64 { return l.journal.before(uint64(cut.at)) }
	l.server.flags = l.drawFlags(number, []string{"always"})
	base, err := fs.empty(ctx, l.dir)
	if err == nil {
		err = i.record(ctx, base, i.load)
	}
	if err == nil {
		err = i.lookAt(ctx, want)
	}
	if err != nil {
		err = fmt.Errorf("%s, %v: %w", fs.name, l.server.flags, err)
	}
	l.server.dir = filepath.Join(l.dir, "found")
	return i, l.end(err)
}

// record has the bus work on a disk that is logged, and takes the log.
func (i *imaged) record(ctx context.Context, base disk, work func(context.Context, *position) error) error {
	dir, err := os.MkdirTemp(i.dir, "logged-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	image := filepath.Join(dir, "image")
	if err := base.save(image, i.fs.size); err != nil {
		return err
	}
	logged, err := newLoggedDisk(dir, image)
	if err != nil {
		return err
	}
	volume, err := mountVolume(dir, i.fs, logged.path)
	var end uint64
	if err == nil {
		i.server.dir = dataOn(volume)
		err = work(ctx, logged.position)
		end = logged.position.now()
		err = errors.Join(err, i.server.kill(), volume.discard())
	}
	if err = errors.Join(err, logged.end()); err != nil {
		return err
	}
	i.base = base
	i.log, err = readRecords(logged.log)
	i.log = i.log[:min(end, uint64(len(i.log)))] // without what unmounting writes
	return errors.Join(err, logged.position.close())
}

// dataOn is where the bus keeps its logs: in directories that it has to make
// itself.
func dataOn(v *volume) string { return filepath.Join(v.mount, "deep", "data") }

// load publishes and reads until there is enough, and ends the server as a
// power cut would.
func (i *imaged) load(ctx context.Context, position *position) error {
	i.journal.disk = position.now
	defer func() { i.journal.disk = nil }()
	i.began = position.now()
	err := i.server.start(ctx)
	if err != nil {
		return err
	}
	i.opened = position.now()
	if i.names, err = namesIn(i.server.dir); err != nil {
		return err
	}
	p := &powered{life: i.life}
	end := p.load(ctx)
	for deadline := time.Now().Add(patience); i.journal.answersSoFar() < imageAnswers && ctx.Err() == nil; pause(ctx, time.Millisecond) {
		if time.Now().After(deadline) {
			err = fmt.Errorf("%w: %d events were answered within %s, want %d", errFault, i.journal.answersSoFar(), patience, imageAnswers)
			break
		}
	}
	i.journal.goDark(true)
	err = errors.Join(err, i.server.kill())
	end()
	i.journal.goDark(false)
	return err
}

// lookAt takes moments from the whole life, the first ones of the server too,
// and of each some of the disks that there may be.
func (i *imaged) lookAt(ctx context.Context, want imaging) error {
	done := 0 // so many records are on the base
	for _, between := range i.moments(want.perLife) {
		for ; done < between.safe; done++ {
			if w := i.log[done]; w.kind == blockWrite {
				i.base.write(w.offset, w.data)
			}
		}
		if err := i.again(ctx, between.draw(i.log, i.rand), want); err != nil || i.enough(&i.sum) {
			return err
		}
		for subset := range want.subsets {
			cut := between.draw(i.log, i.rand)
			err := i.image(ctx, cut, subset%ways, sectorSize)
			if errors.Is(err, errFileSystem) && subset%ways == tornSectors {
				// Neither ext4 nor XFS bears that a page of its own is torn, such
				// as the one with the superblock: its checksum is wrong then.
				i.gentle++
				err = i.image(ctx, cut, subset%ways, pageSize)
			}
			if err != nil || i.enough(&i.sum) {
				return err
			}
		}
	}
	return nil
}

// moments draws n times between two flushes, in their order. The one in which
// the server began to listen is always among them: what it has made by then has
// to be there, and the next flush would hide that it was not.
func (i *imaged) moments(n int) []interval {
	var all []interval
	must := -1
	for _, between := range intervals(i.log) {
		listens := uint64(between.from) <= i.opened && i.opened <= uint64(between.to)
		if listens {
			must = len(all)
		}
		if listens || uint64(between.to) > i.began && between.open(i.log) {
			all = append(all, between)
		}
	}
	picked := i.rand.Perm(len(all))[:min(n, len(all))]
	if must >= 0 && !slices.Contains(picked, must) {
		picked[0] = must
	}
	slices.Sort(picked)
	some := make([]interval, len(picked))
	for k, at := range picked {
		some[k] = all[at]
	}
	return some
}

// errFileSystem is a disk on which not even the file system is in order. Nothing
// can be asked of the bus there.
var errFileSystem = errors.New("the file system does not bear it")

// image makes a disk as the cut may have left it, has the bus open it, and
// judges what it has. What was found counts only on a file system in order.
func (i *imaged) image(ctx context.Context, cut cutPoint, way int, piece int64) error {
	image := filepath.Join(i.dir, "image")
	open := cut.open(i.log, way, piece, i.rand)
	if err := i.base.with(open).save(image, i.fs.size); err != nil {
		return err
	}
	before := i.sum
	v, err := mountVolume(i.dir, i.fs, image)
	if err != nil {
		err = fmt.Errorf("%w: %w", errFileSystem, err)
	} else {
		i.server.dir = dataOn(v)
		err = i.judged(ctx, cut)
		i.save(before.faults())
		err = errors.Join(err, i.server.kill(), v.discard(), i.fs.check(ctx, image))
	}
	if errors.Is(err, errFileSystem) {
		i.sum = before
	}
	if err != nil {
		return fmt.Errorf("after %d records, those before %d flushed, %d sectors open: %w", cut.at, cut.safe, len(open), err)
	}
	if i.images++; len(open) > 0 {
		i.torn++
	}
	return nil
}

// save keeps what is mounted for a person, when there is a fault that was not there.
func (i *imaged) save(faults int) {
	if i.sum.faults() > faults && i.server.kill() == nil {
		os.RemoveAll(filepath.Join(i.dir, "found"))
		copyTree(i.server.dir, filepath.Join(i.dir, "found"))
	}
}

// judged starts the bus on what is mounted.
func (i *imaged) judged(ctx context.Context, cut cutPoint) error {
	var v verdict
	if i.opened <= uint64(cut.at) {
		for _, name := range i.names {
			if _, err := os.Lstat(filepath.Join(i.server.dir, name)); err != nil {
				v.wrong(&v.names, "%s was there when the server listened: %v", name, err)
			}
		}
	}
	since := i.since(cut)
	err := i.server.start(ctx)
	if err == nil {
		if strings.Contains(i.server.said(), `"saved_to"`) {
			i.tailed++
		}
		_, err = i.look(ctx, since, false)
		err = errors.Join(err, i.stillTold(ctx, cut, &v))
	} else if errors.Is(err, errFault) {
		v.wrong(&v.closed, "%v", err)
		v.add(i.journal.judge(i.server.dump(ctx), since, false))
		err = nil
	}
	i.sum.add(&v)
	return err
}

// check has the file system's own tool look at a disk that was unmounted.
func (fs fileSystem) check(ctx context.Context, image string) error {
	tool, err := found(fs.fsck[0])
	if err != nil {
		return err
	}
	args := append(fs.fsck[1:len(fs.fsck):len(fs.fsck)], image)
	if out, err := exec.CommandContext(ctx, tool, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s: %w: %s", errFileSystem, fs.fsck[0], err, out)
	}
	return nil
}
