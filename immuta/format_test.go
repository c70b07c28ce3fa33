package immuta

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// rows are the cells of all tables of FORMAT.md.
func rows(t *testing.T) [][]string {
	t.Helper()
	b, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|-") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		out = append(out, cells)
	}
	return out
}

// fields are the tables as the code has them, in order; a size is the way to the
// next field.
var fields = []struct {
	name    string
	offsets []int
}{
	{"magic version reserved flags id first created salt key_id previous check sum", []int{fhMagic, fhVersion, fhReserved, fhFlags, fhID, fhFirst, fhCreated, fhSalt, fhKeyID, fhPrevious, fhCheck, fhSum, fileHeader}},
	{"magic kind flags zero_pieces body count first commit time body_sum plain constant sum", []int{bhMagic, bhKind, bhFlags, bhZero, bhBody, bhCount, bhFirst, bhCommit, bhTime, bhBodySum, bhPlain, bhConstant, bhSum, blockHeader}},
	{"index_magic index_id index_first index_version index_sum", []int{ihMagic, ihID, ihFirst, ihVersion, ihSum, indexEntry}},
	{"entry_first entry_time entry_offset entry_kind entry_sum", []int{ieFirst, ieTime, ieOffset, ieKind, ieSum, indexEntry}},
}

func TestTheFormatDocumentHasTheOffsetsOfTheCode(t *testing.T) {
	var want, got []string
	for _, table := range fields {
		for i, name := range strings.Fields(table.name) {
			size := table.offsets[i+1] - table.offsets[i]
			want = append(want, fmt.Sprintf("%d %d %s", table.offsets[i], size, name))
		}
	}
	for _, cells := range rows(t) {
		if len(cells) == 4 && cells[0] != "offset" {
			got = append(got, fmt.Sprintf("%s %s %s", cells[0], cells[1], strings.ReplaceAll(cells[2], " ", "_")))
		}
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Fatalf("got\n%s\nwant\n%s", g, w)
	}
}

// gapFields are what differs in the header of a gap; gap_test.go holds each
// against a frame.
var gapFields = []string{"flags", "count", "first", "commit", "time"}

func TestTheFormatDocumentHasTheValuesOfTheCode(t *testing.T) {
	want := map[string]string{
		"body": fmt.Sprint(maxBody), "records in a block": fmt.Sprint(maxCount), "record": fmt.Sprint(maxRecord),
		"records of one append, bytes": fmt.Sprint(maxAppend), "index of a record": fmt.Sprint(maxIndex),
	}
	for _, cells := range rows(t) {
		if len(cells) != 2 || cells[0] == "name" || cells[0] == "field" || slices.Contains(gapFields, cells[0]) {
			continue
		}
		if cells[1] != want[cells[0]] {
			t.Errorf("%s: got %s, want %s", cells[0], cells[1], want[cells[0]])
		}
		delete(want, cells[0])
	}
	if len(want) > 0 {
		t.Errorf("not in the document: %v", want)
	}
	b, _ := os.ReadFile("FORMAT.md")
	for _, text := range []string{
		fmt.Sprintf("`% x`", fileMagic), fmt.Sprintf("0x%08X", blockMagic), fmt.Sprintf("0x%08X", blockConstant),
		fmt.Sprintf("0x%X", padByte), fmt.Sprintf("at most %d;", maxCheck), fmt.Sprintf("file's %d-byte sectors", sectorSize),
		fmt.Sprintf("about one for each %d KiB", indexEvery>>10), fmt.Sprintf("%d bytes of the header (bytes 0 to %d", sealedPrefix, bhBodySum-1),
		fmt.Sprintf("A frame of kind %d stands where", kindGap), fmt.Sprintf("A frame of kind %d stands for records", kindRemoved), fmt.Sprintf("a header for each %d of them", maxCount),
	} {
		if !strings.Contains(string(b), text) {
			t.Errorf("the document lacks %q", text)
		}
	}
}
