package immuta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

var benchRecord = bytes.Repeat([]byte(`{"id":1234}`), 27) // 297 bytes, as an event of 256 bytes of payload

func benchLog(b *testing.B, o Options) (*Log, string) {
	b.Helper()
	dir := b.TempDir()
	l := mustOpen(b, dir, o)
	return l, dir
}

func forBenchKinds(b *testing.B, run func(b *testing.B, o Options)) {
	for _, k := range kinds {
		b.Run(k.name, func(b *testing.B) { run(b, Options{Sealing: k.sealing}) })
	}
}

// BenchmarkAppend is durable appends of one record from a number of goroutines.
func BenchmarkAppend(b *testing.B) {
	for _, parallel := range []int{1, 64} {
		b.Run(fmt.Sprintf("parallel=%d", parallel), func(b *testing.B) {
			forBenchKinds(b, func(b *testing.B, o Options) {
				l, _ := benchLog(b, o)
				work := make(chan struct{}, 1024)
				done := make(chan error, parallel)
				for range parallel {
					go func() {
						var failed error
						for range work {
							_, err := l.Append(context.Background(), [][]byte{benchRecord})
							failed = errors.Join(failed, err)
						}
						done <- failed
					}()
				}
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					work <- struct{}{}
				}
				close(work)
				for range parallel {
					if err := <-done; err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			})
		})
	}
}

// BenchmarkBatch is durable appends of 1000 records.
func BenchmarkBatch(b *testing.B) {
	forBenchKinds(b, func(b *testing.B, o Options) {
		l, _ := benchLog(b, o)
		batch := make([][]byte, 1000)
		for i := range batch {
			batch[i] = benchRecord
		}
		b.SetBytes(int64(len(batch) * len(benchRecord)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := l.Append(context.Background(), batch); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N*len(batch))/b.Elapsed().Seconds(), "records/s")
	})
}

// fill makes a log of n records that is closed again.
func fill(b *testing.B, o Options, n int) string {
	b.Helper()
	l, dir := benchLog(b, o)
	batch := make([][]byte, 1000)
	for i := range batch {
		batch[i] = benchRecord
	}
	for range n / len(batch) {
		if _, err := l.Append(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	return dir
}

// BenchmarkReplay is one reader through a log that is on disk only.
func BenchmarkReplay(b *testing.B) {
	const n = 300_000
	forBenchKinds(b, func(b *testing.B, o Options) {
		l := mustOpen(b, fill(b, o, n), o)
		b.SetBytes(n * int64(len(benchRecord)))
		b.ReportAllocs()
		for b.Loop() {
			r, count := l.Reader(1), 0
			for {
				block, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					b.Fatal(err)
				}
				count += len(block.Records)
			}
			if count != n {
				b.Fatalf("got %d records, want %d", count, n)
			}
		}
		b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "records/s")
	})
}

// BenchmarkReplayTogether is four readers through a log that is on disk only;
// records of all of them count.
func BenchmarkReplayTogether(b *testing.B) {
	const n, readers = 100_000, 4
	forBenchKinds(b, func(b *testing.B, o Options) {
		l := mustOpen(b, fill(b, o, n), o)
		b.ReportAllocs()
		for b.Loop() {
			counts := make(chan int, readers)
			for range readers {
				go func() {
					r, count := l.Reader(1), 0
					defer r.Close()
					block, err := r.Next()
					for ; err == nil; block, err = r.Next() {
						count += len(block.Records)
					}
					counts <- count
				}()
			}
			for range readers {
				if got := <-counts; got != n {
					b.Fatalf("got %d records, want %d", got, n)
				}
			}
		}
		b.ReportMetric(float64(b.N*readers*n)/b.Elapsed().Seconds(), "records/s")
	})
}

// BenchmarkOpen is a clean log, one whose process was killed, and one without
// its index.
func BenchmarkOpen(b *testing.B) {
	const n = 300_000
	dir := fill(b, Options{}, n)
	index := filepath.Join(dir, "orders.idx")
	whole, err := os.ReadFile(index)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		idx  []byte
	}{{"closed", whole}, {"killed", whole[:len(whole)-len(whole)%1024-1024]}, {"no-index", nil}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				if err := os.WriteFile(index, c.idx, 0o600); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				l, err := Open(dir, "orders", Options{})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				l.Close()
				b.StartTimer()
			}
		})
	}
}

// BenchmarkSeek reads one block at a random place.
func BenchmarkSeek(b *testing.B) {
	const n = 300_000
	forBenchKinds(b, func(b *testing.B, o Options) {
		l := mustOpen(b, fill(b, o, n), o)
		index := uint64(1)
		b.ReportAllocs()
		for b.Loop() {
			index = (index*6364136223846793005 + 1442695040888963407) % n
			r := l.Reader(index + 1)
			if _, err := r.Next(); err != nil {
				b.Fatal(err)
			}
			r.Close()
		}
	})
}

// BenchmarkSpaceAhead is durable appends of one record, one after the other, into
// space that was written before, and without any.
func BenchmarkSpaceAhead(b *testing.B) {
	for name, ahead := range map[string]int{"ahead=1MiB": 0, "ahead=none": -1} {
		b.Run(name, func(b *testing.B) {
			l, _ := benchLog(b, Options{Ahead: ahead})
			for b.Loop() {
				if _, err := l.Append(context.Background(), [][]byte{benchRecord}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCommit is one record, or 100, from call to answer without a sync:
// what the writer itself costs.
func BenchmarkCommit(b *testing.B) {
	for _, records := range []int{1, 100} {
		b.Run(fmt.Sprintf("records=%d", records), func(b *testing.B) {
			forBenchKinds(b, func(b *testing.B, o Options) {
				o.Sync = SyncOS
				l, _ := benchLog(b, o)
				batch := make([][]byte, records)
				for i := range batch {
					batch[i] = benchRecord
				}
				b.ReportAllocs()
				for b.Loop() {
					if _, err := l.Append(context.Background(), batch); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*records), "ns/record")
			})
		})
	}
}

// BenchmarkWake is one record that all waiters see, each in a goroutine of its
// own, until all of them have seen it.
func BenchmarkWake(b *testing.B) {
	for _, waiters := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("waiters=%d", waiters), func(b *testing.B) {
			l, _ := benchLog(b, Options{Sync: SyncOS})
			ctx, cancel := context.WithCancel(context.Background())
			var running, round sync.WaitGroup
			for range waiters {
				running.Go(func() {
					for from := uint64(1); l.Wait(ctx, from) == nil; from++ {
						round.Done()
					}
				})
			}
			b.ReportAllocs()
			for b.Loop() {
				round.Add(waiters)
				if _, err := l.Append(ctx, [][]byte{benchRecord}); err != nil {
					b.Fatal(err)
				}
				round.Wait()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*waiters), "ns/waiter")
			cancel()
			running.Wait()
		})
	}
}
