package immuta_test

import (
	"bytes"
	"slices"
	"testing"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// FuzzRecovery puts any bytes behind any whole commits of a log: it opens, serves
// the commits, never more than a block that is really there, and when it takes an
// append, that is there after the next open.
func FuzzRecovery(f *testing.F) {
	plain := makeSmall(f, immuta.Options{}, someCommits...)
	sealed := makeSmall(f, immuta.Options{Sealing: immuta.FakeSealing(1)}, someCommits...)
	for i := range plain.ends {
		f.Add(uint8(i), false, plain.log[plain.ends[0]:])
		f.Add(uint8(i), true, sealed.log[sealed.ends[i]:])
		f.Add(uint8(i), false, make([]byte, 700))
		f.Add(uint8(i), true, []byte{0xFF, 0})
		f.Add(uint8(i), false, plain.log[plain.ends[i]:])
	}
	f.Fuzz(func(t *testing.T, commits uint8, seal bool, tail []byte) {
		s := plain
		if seal {
			s = sealed
		}
		n := int(commits) % len(s.ends)
		file := append(slices.Clone(s.log[:s.ends[n]]), tail...)
		out := study(t, s.o, file, nil)
		if err := s.honest(out); err != nil && !bytes.HasPrefix(s.log, file) {
			if len(out.served) > s.counts[n] || len(out.reports)+out.torn > 0 {
				t.Fatalf("%v; served %d", err, len(out.served))
			}
		}
		if len(out.served) < s.counts[n] {
			t.Fatalf("got %d records, want the %d of whole commits", len(out.served), s.counts[n])
		}
		fs := faultfs.New()
		fs.WriteFile(logFile, file)
		o := s.o
		o.FS = fs
		appends(t, o)
	})
}

// appends appends to a log that takes it, and wants to see it after reopening.
func appends(t *testing.T, o immuta.Options) {
	t.Helper()
	l, err := immuta.Open(dir, name, o)
	if err != nil {
		return
	}
	got, err := l.Append(t.Context(), [][]byte{[]byte("new")})
	l.Close()
	if err != nil {
		return
	}
	l, err = immuta.Open(dir, name, o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b, err := l.Reader(got.First).Next()
	if err != nil || len(b.Records) != 1 || string(b.Records[0]) != "new" {
		t.Fatalf("record %d: got %v and %v, want the new one", got.First, b, err)
	}
}

// FuzzIndex wants any index file to be harmless.
func FuzzIndex(f *testing.F) {
	var commits [][]string
	for range 40 {
		commits = append(commits, []string{string(make([]byte, 9000))})
	}
	s := makeSmall(f, immuta.Options{}, commits...)
	f.Add(s.idx, uint8(0))
	f.Add(s.idx[:64], uint8(3))
	f.Add(append(slices.Clone(s.idx), s.idx[32:64]...), uint8(200))
	f.Add(append(slices.Clone(s.idx[:32]), s.idx[64:]...), uint8(1))
	f.Add([]byte{}, uint8(9))
	f.Fuzz(func(t *testing.T, idx []byte, from uint8) {
		fs := faultfs.New()
		fs.WriteFile(logFile, s.log)
		fs.WriteFile(idxFile, idx)
		o := s.o
		o.FS = fs
		l, err := immuta.Open(dir, name, o)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		index := uint64(from)%uint64(len(s.records)) + 1
		b, err := l.Reader(index).Next()
		if err != nil || b.First != index || string(b.Records[0]) != s.records[index-1] {
			t.Fatalf("record %d: got a block at %d and %v", index, b.First, err)
		}
		if got, err := all(l); err != nil || !slices.Equal(got, s.records) {
			t.Fatalf("got %d records and %v, want %d", len(got), err, len(s.records))
		}
	})
}

// FuzzAnyFile wants a whole file of any bytes to be refused, or read without a
// panic and without an index that is not the next; to be left as it is by who
// only reads; and Verify to see what reading sees.
func FuzzAnyFile(f *testing.F) {
	plain := makeSmall(f, immuta.Options{}, someCommits...)
	sealed := makeSmall(f, immuta.Options{Sealing: immuta.FakeSealing(1)}, someCommits...)
	f.Add(plain.log, false)
	f.Add(sealed.log, true)
	f.Add(sealed.log, false)
	f.Add(plain.log[:128], false)
	f.Add(plain.log[:127], false)
	f.Add(make([]byte, 4096), true)
	f.Add([]byte{}, false)
	thin, _ := thinned(f, immuta.Options{})
	f.Add(thin[closedFile(1)], false)
	thin, _ = thinned(f, sealed.o)
	f.Add(thin[closedFile(1)], true)
	f.Fuzz(func(t *testing.T, file []byte, seal bool) {
		o := plain.o
		if seal {
			o = sealed.o
		}
		fs := faultfs.New()
		fs.WriteFile(logFile, file)
		o.FS, o.ReadOnly = fs, true
		l, err := immuta.Open(dir, name, o)
		report, verifyErr := immuta.Verify(dir, name, o)
		if err != nil {
			return
		}
		defer l.Close()
		records, _, err := left(l)
		if good := verifyErr == nil && len(report.Damage) == 0; good != (err == nil) || good && report.Records != uint64(len(records)) {
			t.Fatalf("read %d records and %v; verify says %+v, %v", len(records), err, report, verifyErr)
		}
		if now, _ := fs.ReadFile(logFile); !bytes.Equal(now, file) {
			t.Fatal("who only reads has changed the file")
		}
	})
}
