package disk

import (
	"os"
	"regexp"
	"strconv"
	"testing"
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
		"content type": flagContentType, "created_at": flagCreatedAt,
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
	e.CreatedAt = testTime
	got := mustRecord(t, e)
	want := "\x01\x3f\x0d" + "\x01\x00\x02\x06\x02" + "\x15\x4d\xcd\xcb\x08\xea\xe3\x18" + "orders.created" + "ab" + "t" + "kkk" + "_bus_.x" + "a/b" + "\x00\xff"
	if string(got) != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
