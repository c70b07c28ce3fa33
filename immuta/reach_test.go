package immuta_test

import (
	"errors"
	"slices"
	"testing"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// The last whole commit has rotted, and behind it stands one that was never
// finished: readers must not end before the damage as at the end of the log.
func TestDamageIsToldToReadersAlsoWhenOnlyAnUnfinishedCommitFollowsIt(t *testing.T) {
	for _, readOnly := range []bool{true, false} {
		s := makeSmall(t, immuta.Options{}, someCommits...)
		file := slices.Clone(s.log[:s.ends[2]+100]) // of the third commit there is only the beginning
		file[s.ends[2]-20] ^= 1
		fs := faultfs.New()
		fs.WriteFile(logFile, file)
		o := s.o
		o.FS, o.ReadOnly = fs, readOnly
		l := open(t, fs, o)
		records, err := all(l)
		if damage, is := errors.AsType[*immuta.CorruptError](err); !is || damage.From != uint64(len(records)+1) {
			t.Errorf("read only %v: got %d records and %v, want the damage behind them", readOnly, len(records), err)
		}
		l.Close()
		if now, _ := fs.ReadFile(logFile); !slices.Equal(now, file) {
			t.Error("the damaged file was written to")
		}
	}
}
