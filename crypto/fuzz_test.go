package crypto

import (
	"bytes"
	"errors"
	"testing"
)

func FuzzWhatWasSealedOpensOnlyWhereItWas(f *testing.F) {
	f.Add([]byte(""), uint64(0), uint64(1))
	f.Add([]byte("plain"), uint64(184), uint64(128))
	s := testSealer(f)
	f.Fuzz(func(t *testing.T, plain []byte, position, other uint64) {
		box, err := s.Seal(nil, plain, position)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Open(nil, box, position); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("got %x, %v, want %x", got, err, plain)
		}
		if _, err := s.Open(nil, box, other); other != position && !errors.Is(err, ErrTampered) {
			t.Errorf("read at %d, sealed at %d: got %v, want ErrTampered", other, position, err)
		}
	})
}

func FuzzBytesThatWereNotSealedNeverOpen(f *testing.F) {
	s := testSealer(f)
	box, _ := s.Seal(nil, []byte("plain"), 184)
	f.Add(box[:31], uint64(184))
	f.Add(append(box[:16:16], make([]byte, 40)...), uint64(184))
	f.Fuzz(func(t *testing.T, sealed []byte, position uint64) {
		if got, err := s.Open(nil, sealed, position); !errors.Is(err, ErrTampered) || got != nil {
			t.Errorf("got %x, %v, want ErrTampered", got, err)
		}
	})
}

func FuzzNothingMovesBetweenTheFieldsOfAnInfo(f *testing.F) {
	f.Add("log", "orders", uint64(1), "logo", "rders", uint64(1))
	f.Add("a", "\x01\x00\x00\x00\x00\x00\x00\x00b", uint64(0), "a\x01", "b", uint64(256))
	f.Fuzz(func(t *testing.T, kind, name string, first uint64, kind2, name2 string, first2 uint64) {
		same := kind == kind2 && name == name2 && first == first2
		if got := bytes.Equal(info(kind, name, first), info(kind2, name2, first2)); got != same {
			t.Errorf("equal infos: got %v, want %v", got, same)
		}
	})
}

func benchmarkSizes(b *testing.B, run func(b *testing.B, s Sealer, plain []byte)) {
	for _, size := range []struct {
		name string
		n    int
	}{{"512B", 512}, {"4KiB", 4096}, {"16KiB", 16384}} {
		b.Run(size.name, func(b *testing.B) {
			b.SetBytes(int64(size.n))
			b.ReportAllocs()
			run(b, testSealer(b), make([]byte, size.n))
		})
	}
}

func BenchmarkSeal(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, s Sealer, plain []byte) {
		dst := make([]byte, 0, len(plain)+s.Overhead())
		for b.Loop() {
			if _, err := s.Seal(dst, plain, 184); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, s Sealer, plain []byte) {
		box, _ := s.Seal(nil, plain, 184)
		dst := make([]byte, 0, len(plain))
		for b.Loop() {
			if _, err := s.Open(dst, box, 184); err != nil {
				b.Fatal(err)
			}
		}
	})
}
