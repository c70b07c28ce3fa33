package immuta_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// without removes records by their indexes, for one reason.
func without(reason uint8, indexes ...uint64) func(uint64, time.Time, []byte) uint8 {
	return func(index uint64, _ time.Time, _ []byte) uint8 {
		if slices.Contains(indexes, index) {
			return reason
		}
		return 0
	}
}

// told is what a reader says from a record on: records, and "from-to:reason".
func told(t testing.TB, log *immuta.Log, from uint64) (out []string) {
	t.Helper()
	r := log.Reader(from)
	defer r.Close()
	for due := max(from, 1); ; {
		b, err := r.Next()
		if err == io.EOF {
			return out
		}
		removed, is := errors.AsType[*immuta.RemovedError](err)
		if is && removed.From == due && removed.Next > due {
			out = append(out, fmt.Sprintf("%d-%d:%d", removed.From, removed.Next-1, removed.Reason))
			due = removed.Next
			r.Seek(due)
			continue
		}
		if err != nil || b.First != due {
			t.Fatalf("record %d: got a block at %d and %v", due, b.First, err)
		}
		for _, rec := range b.Records {
			out = append(out, string(rec))
			due++
		}
	}
}

// batches is a closed segment of some commits, the records of which are their
// indexes, and one record behind it.
func batches(t testing.TB, fs immuta.FS, o immuta.Options, sizes ...int) *immuta.Log {
	t.Helper()
	o.FS = fs
	log, err := immuta.Open(dir, name, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	index := 0
	for _, n := range sizes {
		records := make([][]byte, n)
		for i := range records {
			index++
			records[i] = fmt.Append(nil, index)
		}
		if _, err := log.Append(t.Context(), records); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(t.Context(), [][]byte{fmt.Append(nil, index+1)}); err != nil {
		t.Fatal(err)
	}
	return log
}

func rewrite(t testing.TB, log *immuta.Log, first uint64, remove func(uint64, time.Time, []byte) uint8) immuta.Rewritten {
	t.Helper()
	did, err := log.Rewrite(t.Context(), first, remove)
	if err != nil {
		t.Fatal(err)
	}
	return did
}

func wantTold(t testing.TB, log *immuta.Log, from uint64, want string) {
	t.Helper()
	if got := strings.Join(told(t, log, from), " "); got != want {
		t.Errorf("from %d: got %s, want %s", from, got, want)
	}
}

func forBlocks(t *testing.T, test func(t *testing.T, o immuta.Options)) {
	for _, size := range []int{1, 7, 4096} {
		forSealings(t, func(t *testing.T, o immuta.Options) {
			o.BlockSize = size
			test(t, o)
		})
	}
}

func TestRemovedRecordsAreToldAndAllOthersKeepTheirPlace(t *testing.T) {
	forBlocks(t, func(t *testing.T, o immuta.Options) {
		for _, c := range []struct {
			gone []uint64
			want string
		}{
			{[]uint64{4}, "1 2 3 4-4:7 5 6 7 8 9 10"},
			{[]uint64{1}, "1-1:7 2 3 4 5 6 7 8 9 10"},
			{[]uint64{9}, "1 2 3 4 5 6 7 8 9-9:7 10"},
			{[]uint64{2, 3, 4, 5}, "1 2-5:7 6 7 8 9 10"},
			{[]uint64{3, 5, 7}, "1 2 3-3:7 4 5-5:7 6 7-7:7 8 9 10"},
			{[]uint64{1, 2, 3, 4, 5, 6, 7, 8, 9}, "1-9:7 10"},
		} {
			fs := faultfs.New()
			log := batches(t, fs, o, 3, 5, 1)
			before, _ := log.Bounds()
			did := rewrite(t, log, 1, without(7, c.gone...))
			if did.Removed != uint64(len(c.gone)) || did.Kept != 9-did.Removed || did.BytesBefore < 128 || did.BytesAfter != log.Segments()[0].Bytes {
				t.Fatalf("got %+v, want %d removed", did, len(c.gone))
			}
			for range 2 {
				wantTold(t, log, 1, c.want)
				if first, next := log.Bounds(); first != before || next != 11 {
					t.Errorf("got the bounds %d and %d, want 1 and 11", first, next)
				}
				log.Close()
				log = open(t, fs, o)
			}
			report, err := immuta.Verify(dir, name, withFS(o, fs))
			if err != nil || len(report.Damage) > 0 || report.Removed != did.Removed || report.Records != 10-did.Removed || report.Next != 11 {
				t.Errorf("verify: got %+v and %v, want %d records removed", report, err, did.Removed)
			}
			if _, err := log.Append(t.Context(), [][]byte{[]byte("11")}); err != nil {
				t.Fatal(err)
			}
			wantTold(t, log, 1, c.want+" 11")
		}
	})
}

func withFS(o immuta.Options, fs immuta.FS) immuta.Options {
	o.FS = fs
	return o
}

func TestAReaderThatStartsInTheMiddleOfARunGetsTheRest(t *testing.T) {
	forBlocks(t, func(t *testing.T, o immuta.Options) {
		log := batches(t, faultfs.New(), o, 4, 4)
		rewrite(t, log, 1, without(3, 2, 3, 4, 5, 6))
		for from, want := range map[uint64]string{1: "1 2-6:3 7 8 9", 2: "2-6:3 7 8 9", 4: "4-6:3 7 8 9", 6: "6-6:3 7 8 9", 7: "7 8 9"} {
			wantTold(t, log, from, want)
		}
	})
}

func TestRunsOfOneReasonAreOneAlsoWithThoseOfBefore(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		now := time.Unix(1e9, 0)
		o.Now = func() time.Time { return now }
		fs := faultfs.New()
		log := batches(t, fs, o, 2, 2, 2, 2, 2)
		rewrite(t, log, 1, without(1, 4))
		rewrite(t, log, 1, without(2, 6, 7))
		wantTold(t, log, 1, "1 2 3 4-4:1 5 6-7:2 8 9 10 11")
		now = now.Add(time.Hour)
		size := rewrite(t, log, 1, without(1, 3, 5)).BytesAfter
		wantTold(t, log, 1, "1 2 3-5:1 6-7:2 8 9 10 11")
		_, err := log.Reader(4).Next()
		removed, ok := errors.AsType[*immuta.RemovedError](err)
		if !ok || !removed.Removed.Equal(now) || !removed.Time.Equal(time.Unix(1e9, 0)) || removed.Path != closedFile(1) || removed.Offset < 128 {
			t.Errorf("got %+v, want records removed at %s", err, now)
		}
		rewrite(t, log, 1, without(2, 8, 9))
		did := rewrite(t, log, 1, without(2, 1, 2, 10))
		wantTold(t, log, 1, "1-2:2 3-5:1 6-10:2 11")
		if did.BytesAfter >= size {
			t.Errorf("got %d bytes without any record, %d with some", did.BytesAfter, size)
		}
	})
}

func TestARunCostsTheSameHoweverManyItStandsFor(t *testing.T) {
	fs := faultfs.New()
	log := batches(t, fs, immuta.Options{}, 50_000, 50_000)
	did := rewrite(t, log, 1, func(i uint64, _ time.Time, _ []byte) uint8 {
		if i == 60_000 {
			return 0
		}
		return 1
	})
	if did.Removed != 99_999 || did.Kept != 1 || did.BytesAfter != 128+64+64+64 {
		t.Errorf("got %+v, want 99999 records in two blocks of 64 bytes", did)
	}
	wantTold(t, log, 1, "1-59999:1 60000 60001-100000:1 100001")
}

func TestNothingIsWrittenWhereNothingIsToBeRemoved(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		fs := faultfs.New()
		log := batches(t, fs, o, 3, 2)
		for round := range 2 {
			before, _ := fs.ReadFile(closedFile(1))
			calls := fs.Calls()
			var asked []uint64
			did := rewrite(t, log, 1, func(i uint64, at time.Time, rec []byte) uint8 {
				if asked = append(asked, i); string(rec) != fmt.Sprint(i) || at.IsZero() {
					t.Errorf("record %d: got %q at %s", i, rec, at)
				}
				return 0
			})
			after, _ := fs.ReadFile(closedFile(1))
			if !bytes.Equal(before, after) || fs.Calls() > calls+round || did.Removed != 0 || did.BytesAfter != did.BytesBefore || int(did.Kept) != len(asked) {
				t.Errorf("got %+v after %d calls, want nothing done", did, fs.Calls()-calls)
			}
			if want := [][]uint64{{1, 2, 3, 4, 5}, {1, 2, 4, 5}}[round]; !slices.Equal(asked, want) {
				t.Errorf("asked for %d, want %d", asked, want)
			}
			rewrite(t, log, 1, without(1, 3))
		}
	})
}

func TestOnlyAClosedSegmentOfALogOpenForWritingIsRewritten(t *testing.T) {
	fs := faultfs.New()
	log := batches(t, fs, immuta.Options{}, 3)
	for _, first := range []uint64{0, 2, 4, 99} {
		if _, err := log.Rewrite(t.Context(), first, without(1, 1)); !errors.Is(err, immuta.ErrNoSegment) {
			t.Errorf("first %d: got %v, want %v", first, err, immuta.ErrNoSegment)
		}
	}
	reading := open(t, fs, immuta.Options{ReadOnly: true})
	if _, err := reading.Rewrite(t.Context(), 1, without(1, 1)); !errors.Is(err, immuta.ErrReadOnly) {
		t.Errorf("got %v, want %v", err, immuta.ErrReadOnly)
	}
	if _, err := log.Trim(4); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Rewrite(t.Context(), 1, without(1, 1)); !errors.Is(err, immuta.ErrNoSegment) {
		t.Errorf("got %v, want %v", err, immuta.ErrNoSegment)
	}
	log.Close()
	if _, err := log.Rewrite(t.Context(), 1, without(1, 1)); !errors.Is(err, immuta.ErrClosed) {
		t.Errorf("got %v, want %v", err, immuta.ErrClosed)
	}
}

func TestADamagedSegmentIsNotRewrittenUntilItIsRepairedAndItsGapStays(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		fs := faultfs.New()
		o.BlockSize = 1
		log := open(t, fs, o)
		for i := range 4 {
			two := [][]byte{bytes.Repeat([]byte{'a' + byte(i)}, 80), bytes.Repeat([]byte{'A' + byte(i)}, 90)}
			if _, err := log.Append(t.Context(), two); err != nil {
				t.Fatal(err)
			}
		}
		if err := log.Roll(t.Context()); err != nil {
			t.Fatal(err)
		}
		log.Close()
		bad, _ := fs.ReadFile(closedFile(1))
		bad[len(bad)*3/5] ^= 1
		fs.WriteFile(closedFile(1), bad)
		log = open(t, fs, o)
		calls := fs.Calls()
		_, err := log.Rewrite(t.Context(), 1, without(1, 1))
		damage, ok := errors.AsType[*immuta.CorruptError](err)
		if now, _ := fs.ReadFile(closedFile(1)); !ok || damage.From == 0 || damage.Next <= damage.From || fs.Calls() > calls || !bytes.Equal(now, bad) {
			t.Fatalf("got %v, want it refused with what is damaged", err)
		}
		log.Close()
		if did, err := immuta.Repair(dir, name, withFS(o, fs), true); err != nil || !did.Done {
			t.Fatalf("got %+v and %v", did, err)
		}
		before, err := immuta.Verify(dir, name, withFS(o, fs))
		if err != nil || len(before.Gaps) != 1 {
			t.Fatalf("got %+v and %v, want a gap", before, err)
		}
		log = open(t, fs, o)
		rewrite(t, log, 1, without(1, 1, 8))
		rewrite(t, log, 1, without(1, damage.From-1, damage.Next))
		after, err := immuta.Verify(dir, name, withFS(o, fs))
		if err != nil || len(after.Gaps) != 1 || after.Removed != 4 || len(after.Damage) > 0 {
			t.Fatalf("got %+v and %v, want a gap and 4 records removed", after, err)
		}
		got, want := *after.Gaps[0], *before.Gaps[0]
		got.Offset, want.Offset = 0, 0
		if got != want || got.Saved == "" {
			t.Errorf("got the gap %+v, want %+v", got, want)
		}
	})
}

func TestARewriteSealsWithTheNewestKey(t *testing.T) {
	fs := faultfs.New()
	batches(t, fs, immuta.Options{Sealing: immuta.FakeSealing(1)}, 3, 3).Close()
	old, _ := fs.ReadFile(closedFile(1))
	o := immuta.Options{Sealing: keyring{immuta.FakeSealing(2), immuta.FakeSealing(1)}}
	log := open(t, fs, o)
	rewrite(t, log, 1, without(1, 2))
	wantTold(t, log, 1, "1 2-2:1 3 4 5 6 7")
	now, _ := fs.ReadFile(closedFile(1))
	if old[72] != 1 || now[72] != 2 || bytes.Equal(old[40:72], now[40:72]) || !bytes.Equal(old[16:40], now[16:40]) || !bytes.Equal(old[88:120], now[88:120]) {
		t.Errorf("got the header % x, want that of % x with another salt and key", now[:128], old[:128])
	}
}

// keyring seals with its first key and opens with all.
type keyring []immuta.Sealing

func (k keyring) Create() ([32]byte, [16]byte, error) { return k[0].Create() }

func (k keyring) Segment(salt [32]byte, id [16]byte, name, kind string, first uint64) (s immuta.Sealer, err error) {
	for _, key := range k {
		if s, err = key.Segment(salt, id, name, kind, first); err == nil {
			return s, nil
		}
	}
	return nil, err
}

func TestTimesAreFoundInARewrittenSegment(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		second := int64(1000)
		o.Now = func() time.Time { second++; return time.Unix(second, 0) }
		log := batches(t, faultfs.New(), o, 1, 1, 1, 1, 1, 1, 1, 1) // record i is of second 1001+i
		rewrite(t, log, 1, without(1, 1, 4, 5, 6, 8))
		for at, want := range map[int64]uint64{0: 1, 1002: 1, 1003: 2, 1004: 3, 1005: 4, 1006: 4, 1007: 4, 1008: 7, 1009: 8, 1010: 9} {
			if got, err := log.IndexAt(time.Unix(at, 0)); err != nil || got != want {
				t.Errorf("second %d: got %d and %v, want %d", at, got, err, want)
			}
		}
		if s := log.Segments()[0]; !s.From.Equal(time.Unix(1002, 0)) || !s.To.Equal(time.Unix(1009, 0)) {
			t.Errorf("got %+v, want it from second 1002 to 1009", s)
		}
	})
}

func TestARewriteWithoutRoomIsRefusedBeforeItWrites(t *testing.T) {
	fs := faultfs.New()
	disk := &smallDisk{fs, 1 << 40}
	log := batches(t, disk, immuta.Options{}, 1000)
	before, _ := fs.ReadFile(closedFile(1))
	disk.free = int64(len(before) / 3)
	calls := fs.Calls()
	_, err := log.Rewrite(t.Context(), 1, without(1, 5))
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "make room") || fs.Calls() > calls {
		t.Fatalf("got %v after %d calls, want a refusal", err, fs.Calls()-calls)
	}
	did := rewrite(t, log, 1, func(uint64, time.Time, []byte) uint8 { return 1 }) // what is left has room
	if did.Removed != 1000 {
		t.Errorf("got %+v, want all removed", did)
	}
	disk.free = -1 // it does not say
	if _, err := log.Append(t.Context(), [][]byte{nil}); err != nil {
		t.Error(err)
	}
}

func TestACancelledRewriteLeavesTheLogAndNoFile(t *testing.T) {
	fs := faultfs.New()
	log := batches(t, fs, immuta.Options{}, 3, 3, 3)
	names := fs.Names()
	for stop := uint64(1); stop <= 9; stop++ {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := log.Rewrite(ctx, 1, func(i uint64, _ time.Time, _ []byte) uint8 {
			if i == stop {
				cancel()
			}
			return 1
		})
		if err != context.Canceled || !slices.Equal(fs.Names(), names) {
			t.Fatalf("stopped at %d: got %v and %q, want %v and %q", stop, err, fs.Names(), context.Canceled, names)
		}
		wantTold(t, log, 1, "1 2 3 4 5 6 7 8 9 10")
	}
}
