package immuta_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"syscall"
	"testing"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// failRead makes the n-th call that only looks fail, once, and tells its name.
func failRead(fs *faultfs.FS, n int, met *string) {
	seen := 0
	fs.Inject(func(c faultfs.Call) error {
		if c.Changes() || *met != "" {
			return nil
		}
		if seen++; seen < n {
			return nil
		}
		*met = c.Op + " " + c.Path
		return syscall.EIO
	})
}

// A sector that cannot be read now may be readable in a minute: who takes it for
// an end that was never written cuts off what was answered.
func TestAReadThatFailsAtOpenCutsNothing(t *testing.T) {
	forModes(t, func(t *testing.T, o immuta.Options) {
		l := newLife(o)
		whole := faultfs.New()
		l.run(whole)
		for seed := range uint64(4) {
			for n := 1; ; n++ {
				fs := whole.After(faultfs.Random, rand.New(rand.NewPCG(seed, 3)))
				met := ""
				failRead(fs, n, &met)
				o := l.o
				o.FS = fs
				log, err := immuta.Open(dir, name, o)
				if err == nil {
					l.readAll(t, log, met)
					log.Close()
				} else if !errors.Is(err, syscall.EIO) {
					t.Fatalf("%s failed: open: got %v, want the cause", met, err)
				}
				fs.Inject(nil)
				l.check(t, fs.After(faultfs.Random, rand.New(rand.NewPCG(seed, uint64(n)))), l.promised())
				if met == "" {
					break
				}
			}
		}
	})
}

// readAll reads to the end, over reads that fail, and holds it against the life.
func (l *life) readAll(t *testing.T, log *immuta.Log, met string) {
	t.Helper()
	r := log.Reader(1)
	defer r.Close()
	var got []string
	for failed := 0; ; {
		b, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			if failed++; failed > 1 || !errors.Is(err, syscall.EIO) {
				t.Fatalf("%s failed: read: got %v", met, err)
			}
			continue // the reader stands where it stood
		}
		if want := uint64(len(got) + 1); b.First != want {
			t.Fatalf("%s failed: got a block at %d, want it at %d", met, b.First, want)
		}
		for _, rec := range b.Records {
			got = append(got, string(rec))
		}
	}
	l.compare(t, got, l.promised())
}

func TestAReadThatFailsUnderAReaderSkipsNothing(t *testing.T) {
	forModes(t, func(t *testing.T, o immuta.Options) {
		l := newLife(o)
		whole := faultfs.New()
		l.run(whole)
		for n := 1; ; n++ {
			fs := whole.After(faultfs.All, nil)
			o := l.o
			o.FS = fs
			log, err := immuta.Open(dir, name, o)
			if err != nil {
				t.Fatal(err)
			}
			met := ""
			failRead(fs, n, &met)
			l.readAll(t, log, met)
			fs.Inject(nil)
			log.Close()
			if met == "" {
				break
			}
		}
	})
}
