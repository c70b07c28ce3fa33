package crypto

import (
	"encoding/binary"
	"os"
	"strconv"
	"strings"
	"testing"
)

// table returns the rows of the table under a heading of FORMAT.md, a map from the name in
// their third column to their first two columns.
func table(t *testing.T, heading string) map[string][2]string {
	t.Helper()
	page, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("FORMAT.md: got no heading %q", heading)
	}
	section, _, _ := strings.Cut(rest, "\n## ")
	rows := make(map[string][2]string)
	for line := range strings.Lines(section) {
		if cells := strings.Split(strings.TrimSpace(line), " | "); len(cells) >= 3 {
			rows[cells[2]] = [2]string{strings.TrimPrefix(cells[0], "| "), cells[1]}
		}
	}
	return rows
}

func at(t *testing.T, row [2]string) (offset, size int) {
	t.Helper()
	offset, err := strconv.Atoi(row[0])
	if err != nil {
		t.Fatal(err)
	}
	size, _ = strconv.Atoi(row[1]) // "n": as long as what is sealed
	return offset, size
}

func TestABoxIsLaidOutAsTheFormatSays(t *testing.T) {
	rows := table(t, "Box")
	want := map[string][2]int{
		"random":     {0, randomSize},
		"tag":        {randomSize, overhead - randomSize},
		"ciphertext": {overhead, 0},
	}
	for name, w := range want {
		offset, size := at(t, rows[name])
		if got := [2]int{offset, size}; got != w {
			t.Errorf("%s: FORMAT.md has offset and size %v, want %v", name, got, w)
		}
	}
}

func TestANonceIsLaidOutAsTheFormatSays(t *testing.T) {
	rows := table(t, "Nonce")
	n := nonce(0x0807060504030201, []byte("sixteen bytes !!"))
	offset, size := at(t, rows["position"])
	if got := binary.LittleEndian.Uint64(n[offset : offset+size]); got != 0x0807060504030201 {
		t.Errorf("position: got %x", got)
	}
	offset, size = at(t, rows["random"])
	if got, want := string(n[offset:offset+size]), "sixteen bytes !!"; got != want {
		t.Errorf("random: got %q, want %q", got, want)
	}
	if got, want := len(n), offset+size; got != want {
		t.Errorf("nonce: got %d bytes, want %d", got, want)
	}
}

func TestAnInfoIsLaidOutAsTheFormatSays(t *testing.T) {
	rows := table(t, "Info of a subkey")
	if got, want := rows["label"][1], strconv.Itoa(len(infoLabel)); got != want {
		t.Errorf("label: FORMAT.md has size %s, want %s", got, want)
	}
	want := "\x0d\x00\x00\x00\x00\x00\x00\x00bus/immuta/v1" +
		"\x03\x00\x00\x00\x00\x00\x00\x00log" +
		"\x06\x00\x00\x00\x00\x00\x00\x00orders" +
		"\x08\x00\x00\x00\x00\x00\x00\x00\x02\x01\x00\x00\x00\x00\x00\x00"
	if got := string(info("log", "orders", 0x0102)); got != want {
		t.Errorf("info: got %q, want %q", got, want)
	}
}
