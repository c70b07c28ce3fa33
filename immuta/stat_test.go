package immuta_test

import (
	"errors"
	"testing"
	"time"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

func TestStatSaysWhatTheLogIsAndHolds(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		fs, now := faultfs.New(), time.Unix(1e9, 0).UTC()
		o.Now = func() time.Time { return now }
		l := open(t, fs, o)
		if s := l.Stat(); s.First != 1 || s.Next != 1 || !s.FirstTime.IsZero() || !s.LastTime.IsZero() || !s.Created.Equal(now) || s.Sealed != (o.Sealing != nil) {
			t.Fatalf("got %+v of an empty log", s)
		}
		first := now
		add(t, l, "a")
		now = now.Add(time.Hour)
		add(t, l, "b")
		check := func(l *immuta.Log) {
			t.Helper()
			file, _ := fs.ReadFile(logFile)
			if s := l.Stat(); s.Next != 3 || !s.FirstTime.Equal(first) || !s.LastTime.Equal(now) || s.Bytes != int64(len(file)) || s.Err != nil {
				t.Fatalf("got %+v", s)
			}
		}
		check(l)
		l.Close()
		check(open(t, fs, o))
	})
}

func TestATornTailIsCountedAndVerifyCallsItNoDamage(t *testing.T) {
	s := makeSmall(t, immuta.Options{Sealing: immuta.FakeSealing(1)}, someCommits...)
	fs := faultfs.New()
	fs.WriteFile(logFile, s.log[:len(s.log)-10])
	for sealing, checked := range map[immuta.Sealing]string{nil: immuta.CheckedOuter, s.o.Sealing: immuta.CheckedSealed} {
		got, err := immuta.Verify(dir, name, immuta.Options{FS: fs, Sealing: sealing})
		if err != nil || got.Checked != checked || len(got.Damage) > 0 || got.Torn == nil || got.Torn.Offset != int64(s.ends[4]) || int(got.Next) != s.counts[4]+1 {
			t.Fatalf("got %+v and %v, want a torn tail at %d", got, err, s.ends[4])
		}
	}
	o := s.o
	l := open(t, fs, o)
	if got := l.Stat().TornCuts; got != 1 {
		t.Fatalf("got %d torn cuts, want 1", got)
	}
}

func TestADamagedTailLeavesTheGoodBlocksReadableAndSaysWhatIsLost(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		s := makeSmall(t, o, someCommits...)
		bad := s.turned((s.ends[1] + 60) * 8) // in the first block of the second commit
		fs := faultfs.New()
		fs.WriteFile(logFile, bad)
		var notices []immuta.Notice
		o = s.o
		o.Report = func(n immuta.Notice) { notices = append(notices, n) }
		l := open(t, fs, o)
		_, err := l.Append(t.Context(), [][]byte{nil})
		var c *immuta.CorruptError
		if !errors.As(err, &c) || c.Offset != int64(s.ends[1]) || c.Path != logFile || c.From != 4 || c.Next != 5 {
			t.Fatalf("got %v, want damage at %d that loses record 4", err, s.ends[1])
		}
		if got, next := l.Bounds(); got != 1 || int(next) != len(s.records)+1 {
			t.Fatalf("got bounds %d and %d, want all but the lost", got, next)
		}
		r := l.Reader(4)
		if _, err = r.Next(); !errors.As(err, &c) || c.From != 4 || c.Next != 5 {
			t.Fatalf("got %v, want the same from a reader", err)
		}
		r.Seek(c.Next)
		if b, err := r.Next(); err != nil || b.First != 5 || string(b.Records[0]) != s.records[4] {
			t.Fatalf("got a block at %d and %v, want one at 5", b.First, err)
		}
		if len(notices) != 2 || notices[1].Kind != immuta.Corrupt {
			t.Fatalf("got notices %v", notices)
		}
	})
}

func TestANameCannotLeaveItsDirectory(t *testing.T) {
	for _, bad := range []string{"", ".", "..", "../x", "a/b", `a\b`, "a\x00b", ".hidden", "c:x"} {
		fs := faultfs.New()
		if l, err := immuta.Open(dir, bad, immuta.Options{FS: fs}); err == nil {
			l.Close()
			t.Errorf("%q was taken", bad)
		}
		if got := fs.Names(); len(got) > 0 {
			t.Errorf("%q: got files %v", bad, got)
		}
	}
}

func TestOptionsThatCannotBeMeantAreRefused(t *testing.T) {
	for name, o := range map[string]immuta.Options{
		"block size": {BlockSize: -1}, "big block size": {BlockSize: 1 << 30}, "record limit": {MaxRecord: 32 << 20},
		"sync mode": {Sync: 9}, "interval": {Sync: immuta.SyncInterval, SyncEvery: -1},
	} {
		o.FS = faultfs.New()
		if l, err := immuta.Open(dir, "orders", o); err == nil {
			l.Close()
			t.Errorf("%s: got no error", name)
		}
	}
}
