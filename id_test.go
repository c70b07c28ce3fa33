package bus

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestIDsSayWhereTheEventStands(t *testing.T) {
	for range 10_000 {
		want := Position{Incarnation: rand.Uint64N(1 << IncarnationBits), Index: 1 + rand.Uint64N(1<<rand.IntN(48))}
		id := FormatID(want)
		got, ok := ParseEventID(id)
		if !ok || got != want {
			t.Fatalf("ParseEventID(%q): got %v %v, want %v", id, got, ok, want)
		}
		if err := CheckID(id); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFourPositionsFitWhatABrowserSends(t *testing.T) {
	most := Position{Incarnation: 1<<IncarnationBits - 1, Index: MaxIndex}
	id := FormatID(most, most, most, most)
	if len(id) > MaxIDLen {
		t.Fatalf("four positions take %d bytes, want at most %d", len(id), MaxIDLen)
	}
	got, ok := ParseID(id)
	if !ok || len(got) != 4 || got[3] != most {
		t.Fatalf("got %v %v, want four times %v", got, ok, most)
	}
}

func TestAResumePointMayStandBeforeTheFirstEvent(t *testing.T) {
	id := FormatID(Position{Incarnation: 7})
	got, ok := ParseID(id)
	if !ok || got[0].Index != 0 {
		t.Fatalf("got %v %v, want index 0", got, ok)
	}
	if _, ok := ParseEventID(id); ok {
		t.Error("index 0 passes as the id of an event")
	}
}

func TestIDsOfOthersAreNotMisread(t *testing.T) {
	for _, id := range []string{"", "e_", "e_abc", "order-17", "e_000000", "e_00000001.", "e_00000001234567890", "e_0000000000000001", "e_00000001..00000002", "c_0000001", "e_00000\x00a1"} {
		if got, ok := ParseID(id); ok {
			t.Errorf("ParseID(%q): got %v, want no position", id, got)
		}
	}
}

func FuzzAnIDHasOneSpelling(f *testing.F) {
	f.Add(FormatID(Position{Incarnation: 12345, Index: 678}))
	f.Add(FormatID(Position{1, 2}, Position{3, 4}))
	f.Add("e_0000000")
	f.Fuzz(func(t *testing.T, id string) {
		if positions, ok := ParseID(id); ok && FormatID(positions...) != id {
			t.Errorf("%q parses as %v, which is spelled %q", id, positions, FormatID(positions...))
		}
		if CheckID(id) == nil && strings.ContainsAny(id, "\r\n\x00 \"\\") {
			t.Errorf("id %q was accepted", id)
		}
	})
}

func TestFreshNamesAreValidAndDiffer(t *testing.T) {
	if err := CheckID(NewConsumerID()); err != nil {
		t.Error(err)
	}
	inbox := NewInbox()
	if err := CheckSubject(inbox); err != nil || !IsInbox(inbox) {
		t.Errorf("NewInbox() = %q: %v, want an inbox subject", inbox, err)
	}
	if one, other := NewConsumerID(), NewConsumerID(); one == other {
		t.Errorf("two consumers are both %s", one)
	}
	if other := NewInbox(); other == inbox {
		t.Errorf("two inboxes are both %s", inbox)
	}
}

func BenchmarkAppendID(b *testing.B) {
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendID(buf[:0], Position{Incarnation: 1 << 40, Index: 123_456_789})
	}
}

func BenchmarkParseEventID(b *testing.B) {
	id := FormatID(Position{Incarnation: 1 << 40, Index: 123_456_789})
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := ParseEventID(id); !ok {
			b.Fatal(id)
		}
	}
}

func TestNoIDIsOneThatAPathIsCleanedOf(t *testing.T) {
	for id, want := range map[string]bool{".": false, "..": false, "...": true, ".a": true, "a.": true} {
		if err := CheckID(id); (err == nil) != want || err != nil && !errors.Is(err, ErrInvalidID) {
			t.Errorf("%q: got %v, want it to be taken: %v", id, err, want)
		}
	}
}
