package sim

import (
	"io/fs"
	"strings"
	"testing"

	"example.com/bus/immuta"
)

// A simulation that never fails proves nothing. These lives run on disks that
// lie, and have to be found out. Faults of the product itself were made by hand,
// one at a time, and each was found by the life with this seed at the latest, the
// first of them when no life had named consumers:
//
//	immuta    an event is shown before the sync that follows its write           12
//	immuta    answered before the sync                                            1
//	immuta    a log that could not sync goes on taking events                     1
//	immuta    the end found at a start is shown without writing it again          1
//	immuta    an incomplete last commit is kept at a start                        1
//	immuta    a torn end is put aside and not cut off                             9
//	immuta    ... is cut off and the shorter length not synced                   68
//	immuta    what a full disk took half of is not cut off                        9
//	immuta    ... is cut off and that is not synced                               9
//	server    a resume point skips one, repeats one, is one too far               1
//	server    keys are forgotten at a start                                       1
//	server    a key stays reserved after its append has failed                  392
//	server    a chosen id is not looked up in the log                            43
//	server    a batch is stored in several commits                                6
//	server    a reply is delivered twice                                         83
//	delivery  a redelivery is left out                                            3
//	delivery  ... comes before the delay that was asked for                       6
//	delivery  a nak counts as an ack                                              1
//	delivery  an ack of a redelivery leaves it in flight                          6
//	delivery  one more is in flight than was asked for                            1
//	delivery  the resume point passes what is not acknowledged                    1
//	delivery  a full queue drops an event instead of letting go                  65
//	delivery  at the seam to the live feed one is left out                        1
//	delivery  ... or is repeated                                                 52
//	delivery  one consumer is enough for confirm=2                              181
//	delivery  a dead letter that was kept wakes nobody                          335
//	delivery  ... that could not be kept is not tried again                     437
//	named     an acknowledgement is answered and not written down                12
//	named     up_to leaves what is below                                          5
//	named     how often an event was refused is not written down                 38
//	named     a dead letter is kept twice, or not at all                          6
//	named     one that was deleted is back after a start                          5
//	named     other settings are not written down                                12
//	named     it is paused and gives events out                                   7
//	named     what a connection had that left goes to nobody                     33
//	named     ... or to others while it is being acknowledged                    23
//	named     what was leased goes to others when the lease has been answered    14
//	named     room that an acknowledgement makes calls nobody                    20
//	named     ... or one who has his share                                      171

// liar is a file system that leaves out what one of its fields says.
type liar struct {
	immuta.FS
	noSync, noDirs, noCut bool
}

type liarFile struct {
	immuta.File
	liar *liar
	log  bool
}

func (l *liar) OpenFile(path string, flag int, perm fs.FileMode) (immuta.File, error) {
	f, err := l.FS.OpenFile(path, flag, perm)
	if err != nil {
		return nil, err
	}
	return &liarFile{f, l, strings.Contains(path, ".log")}, nil
}

func (l *liar) SyncDir(dir string) error {
	if l.noDirs {
		return nil
	}
	return l.FS.SyncDir(dir)
}

func (f *liarFile) Sync() error     { return f.sync(f.File.Sync) }
func (f *liarFile) Datasync() error { return f.sync(f.File.Datasync) }

func (f *liarFile) sync(do func() error) error {
	if f.liar.noSync && f.log {
		return nil
	}
	return do()
}

// Truncate that does nothing leaves what was never answered.
func (f *liarFile) Truncate(size int64) error {
	if f.liar.noCut && f.log {
		return nil
	}
	return f.File.Truncate(size)
}

// foundOut runs lives on a lying disk until one fails.
func foundOut(t *testing.T, lie liar, within uint64) {
	t.Helper()
	for n := range within {
		w := run(t, lifeOf(n+1), func(files immuta.FS) immuta.FS { l := lie; l.FS = files; return &l })
		if w.failure != "" {
			t.Logf("life %d: %s", n+1, w.failure)
			return
		}
	}
	t.Errorf("got %d lives on a disk that lies, want one that fails", within)
}

func TestADiskWithoutSyncIsFoundOut(t *testing.T) { foundOut(t, liar{noSync: true}, 40) }

func TestADirectoryWithoutSyncIsFoundOut(t *testing.T) { foundOut(t, liar{noDirs: true}, 40) }

func TestATruncateThatDoesNothingIsFoundOut(t *testing.T) { foundOut(t, liar{noCut: true}, 200) }

// The same life twice is the same life: a failure can be repeated.
func TestASeedTellsTheWholeLife(t *testing.T) {
	for n := range uint64(10) {
		first, second := run(t, lifeOf(n+1), nil), run(t, lifeOf(n+1), nil)
		if got, want := second.failure, first.failure; got != want {
			t.Fatalf("seed %d: got failure %q the second time, want %q", n+1, got, want)
		}
		for i, line := range first.trace {
			// Two connections of a named consumer that are woken at one moment have no order.
			if !shuffled && len(first.named) == 0 && (i >= len(second.trace) || second.trace[i] != line) {
				t.Fatalf("seed %d: got line %d %q the second time, want %q", n+1, i, at(second.trace, i), line)
			}
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "nothing"
}
