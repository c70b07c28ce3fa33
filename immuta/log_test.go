package immuta

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// kinds are the two forms of a log that every promise is tested with.
var kinds = []struct {
	name    string
	sealing Sealing
}{{"plain", nil}, {"sealed", fakeSealing{key: 7}}}

func forKinds(t *testing.T, test func(t *testing.T, o Options)) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) { test(t, Options{Sealing: k.sealing}) })
	}
}

func mustOpen(t testing.TB, dir string, o Options) *Log {
	t.Helper()
	l, err := Open(dir, "orders", o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func mustAppend(t testing.TB, l *Log, records ...string) Receipt {
	t.Helper()
	b := make([][]byte, len(records))
	for i, r := range records {
		b[i] = []byte(r)
	}
	got, err := l.Append(context.Background(), b)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return got
}

// readAll reads from an index to the visible end and checks that no index is
// missing. The error is what ended it, nil for the end.
func readAll(t testing.TB, l *Log, from uint64) ([]string, error) {
	t.Helper()
	r := l.Reader(from)
	defer r.Close()
	var out []string
	for {
		b, err := r.Next()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		if want := from + uint64(len(out)); b.First != want || len(b.Records) == 0 {
			t.Fatalf("got a block of %d records at %d, want one at %d", len(b.Records), b.First, want)
		}
		for _, rec := range b.Records {
			out = append(out, string(rec))
		}
	}
}

func wantAll(t testing.TB, l *Log, from uint64, want []string) {
	t.Helper()
	got, err := readAll(t, l, from)
	if err != nil {
		t.Fatalf("read from %d: %v", from, err)
	}
	if strings.Join(got, "|") != strings.Join(want, "|") || len(got) != len(want) {
		t.Fatalf("read from %d: got %d records %.200q, want %d %.200q", from, len(got), got, len(want), want)
	}
}

func numbered(from, n, size int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%d:%s", from+i, strings.Repeat("x", size))
	}
	return out
}

func TestWhatIsAppendedIsReadBackFromEveryIndex(t *testing.T) {
	forKinds(t, func(t *testing.T, o Options) {
		dir := t.TempDir()
		o.BlockSize = 300
		l := mustOpen(t, dir, o)
		var all []string
		for i := range 30 {
			batch := append(numbered(len(all), i, 40), "")
			got := mustAppend(t, l, batch...)
			if want := uint64(len(all) + 1); got.First != want {
				t.Fatalf("got first index %d, want %d", got.First, want)
			}
			all = append(all, batch...)
		}
		check := func(l *Log) {
			t.Helper()
			for from := 1; from <= len(all)+1; from++ {
				wantAll(t, l, uint64(from), all[from-1:])
			}
		}
		check(l)
		id := l.ID()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, dir, o)
		if l.ID() != id {
			t.Fatalf("got id %d after reopening, want %d", l.ID(), id)
		}
		check(l)
		mustAppend(t, l, "after")
		all = append(all, "after")
		check(l)
	})
}

func TestTheFilesOfALogHaveTheNamesPromised(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	mustAppend(t, l, "a")
	l.Close()
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	want := filepath.Join(dir, "orders.idx") + " " + filepath.Join(dir, "orders.log")
	if got := strings.Join(names, " "); got != want {
		t.Fatalf("got files %s, want %s", got, want)
	}
}

func TestARecordBiggerThanABlockHasABlockOfItsOwn(t *testing.T) {
	forKinds(t, func(t *testing.T, o Options) {
		o.BlockSize = 1
		dir := t.TempDir()
		l := mustOpen(t, dir, o)
		want := []string{"a", strings.Repeat("big", 300_000), "", strings.Repeat("\x00", 5000), "b"}
		mustAppend(t, l, want...)
		wantAll(t, l, 1, want)
		l.Close()
		wantAll(t, mustOpen(t, dir, o), 1, want)
	})
}

func TestNothingIsTakenThatIsOverALimit(t *testing.T) {
	l := mustOpen(t, t.TempDir(), Options{MaxRecord: 10})
	_, err := l.Append(context.Background(), [][]byte{[]byte("fits"), []byte("does not fit")})
	if !errors.Is(err, ErrTooLarge) {
		t.Fatalf("got %v, want ErrTooLarge", err)
	}
	if _, err := l.Append(context.Background(), nil); err == nil {
		t.Fatal("got no error for an append of no records")
	}
	if got := mustAppend(t, l, "fits"); got.First != 1 {
		t.Fatalf("got index %d after a refused append, want 1", got.First)
	}
}

func TestManyAppendersShareCommitsAndEachGetsItsOwnIndex(t *testing.T) {
	forKinds(t, func(t *testing.T, o Options) {
		l := mustOpen(t, t.TempDir(), o)
		const appenders, each = 16, 20
		var wg sync.WaitGroup
		where := make([]sync.Map, appenders)
		for a := range appenders {
			wg.Go(func() {
				for i := range each {
					text := fmt.Sprintf("%d/%d", a, i)
					got, err := l.Append(context.Background(), [][]byte{[]byte(text), []byte(text + "b")})
					if err != nil {
						t.Errorf("append: %v", err)
						return
					}
					where[a].Store(text, got.First)
				}
			})
		}
		wg.Wait()
		all, err := readAll(t, l, 1)
		if err != nil || len(all) != appenders*each*2 {
			t.Fatalf("got %d records and %v, want %d", len(all), err, appenders*each*2)
		}
		for a := range where {
			where[a].Range(func(text, first any) bool {
				i := first.(uint64) - 1
				if all[i] != text || all[i+1] != text.(string)+"b" {
					t.Errorf("got %q, %q at %d, want %q", all[i], all[i+1], i+1, text)
				}
				return true
			})
		}
	})
}

func TestWaitReturnsWhenTheRecordIsVisibleOrTheContextOrLogEnds(t *testing.T) {
	l := mustOpen(t, t.TempDir(), Options{})
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan error, 3)
	go func() { got <- l.Wait(context.Background(), 1) }()
	mustAppend(t, l, "a")
	if err := <-got; err != nil {
		t.Fatalf("got %v, want nil", err)
	}
	if _, next := l.Bounds(); next != 2 {
		t.Fatalf("got next %d, want 2", next)
	}
	go func() { got <- l.Wait(ctx, 2) }()
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want context.Canceled", err)
	}
	go func() { got <- l.Wait(context.Background(), 2) }()
	l.Close()
	if err := <-got; !errors.Is(err, ErrClosed) {
		t.Fatalf("got %v, want ErrClosed", err)
	}
}

func TestAfterCloseEverythingSaysSo(t *testing.T) {
	l := mustOpen(t, t.TempDir(), Options{})
	mustAppend(t, l, "a")
	r := l.Reader(1)
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	if _, err := r.Next(); !errors.Is(err, ErrClosed) {
		t.Fatalf("reader: got %v, want ErrClosed", err)
	}
	if _, err := l.Append(context.Background(), [][]byte{nil}); !errors.Is(err, ErrClosed) {
		t.Fatalf("append: got %v, want ErrClosed", err)
	}
	if _, err := l.IndexAt(time.Now()); !errors.Is(err, ErrClosed) {
		t.Fatalf("index at: got %v, want ErrClosed", err)
	}
}

func TestASecondOpenForWritingIsRefused(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	if _, err := Open(dir, "orders", Options{}); !errors.Is(err, ErrLocked) {
		t.Fatalf("got %v, want ErrLocked", err)
	}
	l.Close()
	mustOpen(t, dir, Options{})
}

func TestALockedDirectoryNamesItsHolder(t *testing.T) {
	dir := t.TempDir()
	lock, err := LockDir(nil, dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = LockDir(nil, dir)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("pid %d", os.Getpid())) {
		t.Fatalf("got %v, want ErrLocked with this pid", err)
	}
	lock.Close()
	again, err := LockDir(nil, dir)
	if err != nil {
		t.Fatalf("after the holder let go: %v", err)
	}
	again.Close()
}

func TestReadOnlyWritesNothingAndSeesWhatIsThere(t *testing.T) {
	forKinds(t, func(t *testing.T, o Options) {
		dir := t.TempDir()
		o.ReadOnly = true
		if _, err := Open(dir, "orders", o); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("got %v, want fs.ErrNotExist", err)
		}
		o.ReadOnly = false
		w := mustOpen(t, dir, o)
		mustAppend(t, w, "a", "b")
		o.ReadOnly = true
		r := mustOpen(t, dir, o) // beside the writer
		wantAll(t, r, 1, []string{"a", "b"})
		if _, err := r.Append(context.Background(), [][]byte{nil}); !errors.Is(err, ErrReadOnly) {
			t.Fatalf("got %v, want ErrReadOnly", err)
		}
	})
}

func TestAKeyAndASealBelongTogether(t *testing.T) {
	plain, sealed := t.TempDir(), t.TempDir()
	mustOpen(t, plain, Options{}).Close()
	mustOpen(t, sealed, Options{Sealing: fakeSealing{key: 7}}).Close()
	if _, err := Open(plain, "orders", Options{Sealing: fakeSealing{key: 7}}); !errors.Is(err, ErrPlain) {
		t.Fatalf("got %v, want ErrPlain", err)
	}
	if _, err := Open(sealed, "orders", Options{}); !errors.Is(err, ErrSealed) {
		t.Fatalf("got %v, want ErrSealed", err)
	}
	if _, err := Open(sealed, "orders", Options{Sealing: fakeSealing{key: 8}}); !errors.Is(err, errFakeKey) {
		t.Fatalf("got %v, want the sealing's own error", err)
	}
}

func TestIndexAtFindsTheFirstRecordOfATime(t *testing.T) {
	dir := t.TempDir()
	start := time.Unix(1_000_000, 0)
	now := start
	o := Options{Now: func() time.Time { return now }, BlockSize: 64}
	l := mustOpen(t, dir, o)
	const commits = 4000
	for i := range commits {
		now = start.Add(time.Duration(i/2) * time.Second)
		if i == 100 {
			now = start // the clock goes back: times in the log do not
		}
		mustAppend(t, l, numbered(i, 1, 60)...)
	}
	check := func(l *Log) {
		t.Helper()
		for _, c := range []struct {
			at   time.Time
			want uint64
		}{
			{time.Time{}, 1}, {start, 1}, {start.Add(1), 3}, {start.Add(time.Second), 3},
			{start.Add(1500 * time.Second), 3001}, {start.Add(1999 * time.Second), 3999},
			{start.Add(2000 * time.Second), commits + 1}, {start.AddDate(900, 0, 0), commits + 1},
		} {
			if got, err := l.IndexAt(c.at); got != c.want || err != nil {
				t.Errorf("at %s: got %d, %v, want %d", c.at, got, err, c.want)
			}
		}
	}
	check(l)
	l.Close()
	check(mustOpen(t, dir, o))
	os.Remove(filepath.Join(dir, "orders.idx"))
	o.ReadOnly = true
	check(mustOpen(t, dir, o))
}
