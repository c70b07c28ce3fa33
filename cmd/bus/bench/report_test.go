package bench

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// example is a report with all that can be in one, and text that is not nice.
func example() *Report {
	r := &Report{
		Machine: Machine{CPU: `A "fast" <CPU> & more`, Cores: 2, System: "linux/amd64", Kernel: "6.1", Disk: "ext4", Go: "go1.26", Date: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)},
		Config:  Conditions{Runs: 3, Time: time.Second, Payload: 256, Events: 1_000_000, Idle: 5000},
		Systems: []Measured{{"bus", "v0.1.0", "--sync=always", yes}, {"redis", "Redis server v=7", "appendfsync everysec", "no: 1s"}},
		Results: []Result{
			{Name: "publish-1", Title: "publish, 1 connection", Unit: "events/s", Shown: "rate", System: "bus", Setup: "--sync=always", Durability: yes,
				Runs: []Figures{{Events: 10, Rate: 3456, Elapsed: time.Second, P50: 260 * time.Microsecond, P99: 1234 * time.Microsecond, P999: 2 * time.Second, CPU: 37.5, Memory: 20 << 20}}},
			{Name: "publish-1", Title: "publish, 1 connection", Unit: "events/s", Shown: "rate", System: "redis", Setup: "appendfsync everysec", Durability: "no: 1s",
				Runs: []Figures{{Events: 10, Rate: 1_234_567, Elapsed: time.Second, P50: 7 * time.Microsecond, P99: 8 * time.Microsecond, P999: 9 * time.Microsecond, CPU: 4, Memory: 12 << 20}}},
			{Name: "idle", Title: "idle <subscribers>", Shown: "memory", System: "bus", Setup: "--sync=always", Durability: yes, Runs: []Figures{{Events: 1, Memory: 4096}}},
			{Name: "grow-start", Title: "start", Size: "10", Shown: "p50", System: "bus", Setup: "--sync=always", Durability: yes, Runs: []Figures{{Events: 10, P50: 4 * time.Millisecond}}},
			{Name: "grow-start", Title: "start", Size: "1,000", Shown: "p50", System: "bus", Setup: "--sync=always", Durability: yes, Runs: []Figures{{Events: 1000, P50: 5 * time.Millisecond}}},
		},
	}
	for i := range r.Results {
		r.Results[i].summarize()
	}
	return r
}

func TestTableAndPlotAreThoseOfTheGoldenFiles(t *testing.T) {
	for name, write := range map[string]func(io.Writer) error{"table.txt": example().WriteTable, "plot.svg": example().WriteSVG} {
		var got bytes.Buffer
		if err := write(&got); err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got.Bytes(), want)
		}
	}
}

func TestAPlotIsXMLWhateverTheTextInIt(t *testing.T) {
	r := example()
	for _, text := range []string{`"><script>alert(1)</script>`, "a\x00b\x1b[2J\xff", "]]>", "<!--"} {
		r.Machine.CPU, r.Results[0].Title, r.Results[0].Setup, r.Results[0].Unit, r.Results[3].Size = text, text, text, text, text
		var b bytes.Buffer
		if err := r.WriteSVG(&b); err != nil {
			t.Fatal(err)
		}
		for d := xml.NewDecoder(&b); ; {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			if e, ok := token.(xml.StartElement); ok && !strings.Contains("svg title rect text", e.Name.Local) {
				t.Errorf("%q: got element %s, want none of the text's", text, e.Name.Local)
			}
		}
	}
}

func TestNoBarIsLongerThanItsPlace(t *testing.T) {
	for _, lengths := range [][]float64{{1, 2}, {1, 1e9}, {0, 5}, {0, 0}, {1e-3, 7, 1e4}} {
		p := panel{}
		for _, l := range lengths {
			p.bars = append(p.bars, bar{length: l})
		}
		scale, _ := p.scale()
		for i, l := range lengths {
			if got := scale(l); !(got >= 0 && got <= plotWidth-plotLeft-plotValue) {
				t.Errorf("%v: got %v for %v, want a place inside", lengths, got, l)
			}
			if i > 0 && scale(l) < scale(lengths[i-1]) {
				t.Errorf("%v: got a shorter bar for more", lengths)
			}
		}
	}
}

func TestTheJSONHasEveryRun(t *testing.T) {
	want := example()
	var b bytes.Buffer
	if err := want.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(&got, want) {
		t.Errorf("got %+v, want %+v", &got, want)
	}
}

func TestTheMachineIsReadFromWhatLinuxTells(t *testing.T) {
	if got, want := cpuModel(strings.NewReader("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\n")), "Some CPU @ 3 GHz"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	mounts := "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/big xfs rw 0 0\n"
	for path, want := range map[string]string{"/tmp/x": "tmpfs", "/tmp": "tmpfs", "/tmp/big/y": "xfs", "/tmpx": "ext4", "/": "ext4"} {
		if got := fileSystem(mounts, path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}
