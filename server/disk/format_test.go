package disk

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// flagRows returns the bits of the table of flags in FORMAT.md, by name.
func flagRows(t *testing.T) map[string]int {
	t.Helper()
	text, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([a-z_ ]+) \| (\d) \|`).FindAllStringSubmatch(string(text), -1) {
		bit, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		rows[m[1]] = 1 << bit
	}
	return rows
}

func TestTheFormatPageSaysTheFlagsOfTheCode(t *testing.T) {
	got := flagRows(t)
	want := map[string]int{
		"id": flagID, "trace id": flagTraceID, "key": flagKey, "response subject": flagResponse,
		"content type": flagContentType, "created_at": flagCreatedAt, "headers": flagHeaders, "timing": flagTiming,
	}
	for name, bit := range want {
		if got[name] != bit {
			t.Errorf("%s: got %#x in FORMAT.md, want %#x", name, got[name], bit)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %d flags in FORMAT.md, want %d", len(got), len(want))
	}
}

func TestAPlainEventIsThreeBytesAndItsTexts(t *testing.T) {
	got := mustRecord(t, testEvent("orders.created", `{"a":1}`))
	want := "\x01\x00\x0dorders.created" + `{"a":1}`
	if string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAnEventWithEverythingIsLaidOutAsThePageSays(t *testing.T) {
	e := testEvent("orders.created", "\x00\xff")
	e.Id, e.TraceId, e.Key, e.ResponseSubject, e.ContentType = "ab", "t", "kkk", "_bus_.x", "a/b"
	e.Headers = map[string]string{"b": "22", "a": "1"}
	e.CreatedAt = testTime
	got := mustRecord(t, e)
	want := "\x01\x7f\x0d" + "\x01\x00\x02\x06\x02" + "\x15\x4d\xcd\xcb\x08\xea\xe3\x18" + "orders.created" + "ab" + "t" + "kkk" + "_bus_.x" + "a/b" + "\x01" + "\x00\x00\x00a1" + "\x00\x01\x00b22" + "\x00\xff"
	if string(got) != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestTheDerivedRecordsAreLaidOutAsThePageSays(t *testing.T) {
	key := hashKey([]byte("0123456789abcdef"))
	head := appendHead(nil, derivedHead{log: 0x0807060504030201, key: key})
	if want := "\x01\x01" + "\x01\x02\x03\x04\x05\x06\x07\x08" + "0123456789abcdef"; string(head) != want {
		t.Errorf("head: got  %q\nwant %q", head, want)
	}
	delta := appendIDDelta(nil, idDelta{
		span:   span{from: 1, next: 7, at: time.Unix(0, 9)},
		runs:   []run{{incarnation: 2, foreign: 3, local: 4, count: 5}},
		hashes: []hashed{{hash: 6, local: 7}},
	})
	u64 := func(low string) string { return low + "\x00\x00\x00\x00\x00\x00\x00" }
	want := "\x01\x02" + u64("\x01") + u64("\x07") + u64("\x09") + "\x01\x00\x00\x00" + "\x01\x00\x00\x00" +
		u64("\x02") + u64("\x03") + u64("\x04") + u64("\x05") + u64("\x06") + u64("\x07")
	if string(delta) != want {
		t.Errorf("delta: got  %q\nwant %q", delta, want)
	}
}

func TestAGroupOfSubjectsIsLaidOutAsThePageSays(t *testing.T) {
	u64 := func(low string) string { return low + "\x00\x00\x00\x00\x00\x00\x00" }
	for want, g := range map[string]subjectGroup{
		"\x01\x02\x00" + u64("\x01") + u64("\x07") + u64("\x09") + "\x02\x00\x00\x00" + "\x05\x00\x00\x00" + "\x01\x02\x03\x04": {span: span{from: 1, next: 7, at: time.Unix(0, 9)}, hashes: []uint32{5, 0x04030201}},
		"\x01\x02\x01" + u64("\x07") + u64("\x08") + u64("\x09") + "\x00\x00\x00\x00":                                           {span: span{from: 7, next: 8, at: time.Unix(0, 9)}, anything: true},
	} {
		if got := appendGroup(nil, g); string(got) != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if got, err := parseGroup([]byte(want)); err != nil || string(appendGroup(nil, got)) != want {
			t.Errorf("got %+v, %v, want what was written", got, err)
		}
	}
}

func TestTheFormatPageSaysTheLimitsOfGroups(t *testing.T) {
	text, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	l := defaultGroupLimits()
	if l.hashes != maxGroupHashes || l.held*4%(1<<20) != 0 {
		t.Errorf("got %+v, want as many hashes as a record may have, and whole MiB", l)
	}
	for _, want := range []string{
		fmt.Sprintf("groups of %d,%03d events or %d MiB", l.events/1000, l.events%1000, l.bytes>>20), fmt.Sprintf("1 to %d,%03d, unless", l.hashes/1000, l.hashes%1000),
		fmt.Sprintf("at most %d MiB a namespace", l.held*4>>20), fmt.Sprintf("%d at once", skipReads), fmt.Sprintf("takes %d bytes", unsafe.Sizeof(heldGroup{})), fmt.Sprintf("up to %d MiB", wordsSize>>20),
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("FORMAT.md does not say %q", want)
		}
	}
}

func TestTheHashesOfASubjectAreThoseOfThePage(t *testing.T) {
	key := hashKey([]byte("0123456789abcdef"))
	var want []uint32
	for _, text := range []string{"orders.eu.", "orders.eu.new.", "orders.eu.new.created"} {
		sum := sha256.Sum256([]byte("0123456789abcdef" + text))
		want = append(want, binary.LittleEndian.Uint32(sum[:4]))
	}
	if got := key.hashSubject("orders.eu.new.created"); !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestAHashOfAnIDIsThatOfThePage(t *testing.T) {
	key := hashKey([]byte("0123456789abcdef"))
	sum := sha256.Sum256([]byte("0123456789abcdef" + "mine-1"))
	if got, want := key.hash("mine-1"), binary.LittleEndian.Uint64(sum[:8]); got != want {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestTheFormatPageSaysTheReasonsOfTheCode(t *testing.T) {
	text, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^\| (\d+) \| ([a-z]{2,}) \|`).FindAllStringSubmatch(string(text), -1)
	if len(rows) != int(mostReason) {
		t.Errorf("got %d reasons in FORMAT.md, want %d", len(rows), mostReason)
	}
	for _, row := range rows {
		if n, err := strconv.Atoi(row[1]); err != nil || reasonName(uint8(n)) != row[2] {
			t.Errorf("got reason %s as %s in FORMAT.md, want %s", row[1], row[2], reasonName(uint8(n)))
		}
	}
}
