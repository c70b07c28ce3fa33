package sim

import (
	"encoding/json"
	"math/rand/v2"
	"strconv"
)

// pull reads one array, from a start or from where the last one ended.
func (w *world) pull(r *reader, rng *rand.Rand, start string) {
	if !w.up || w.cut() {
		return
	}
	if r.resume == "" && start == "" {
		start = "oldest"
		clear(r.pos)
	}
	bounds := []string{"limit", strconv.Itoa(1 + rng.IntN(6)), "until", "newest"}
	a := w.do("GET", subjects(r.patterns, append(bounds, "start", start)...), "", "Accept: application/json", "Last-Event-ID: "+r.resume)
	if a.status == 0 || a.err != nil {
		return
	}
	var events []json.RawMessage
	if err := json.Unmarshal([]byte(a.body), &events); a.status != 200 || err != nil {
		w.failf("%s pulls: %d %s", r.name, a.status, a.body)
		return
	}
	if gap := a.header.Get("X-BUS-GAP"); gap != "" {
		w.failf("%s is told of a gap: %s", r.name, gap)
	}
	for _, e := range events {
		f := frame{event: "msg", data: string(e)}
		w.sight(r.name, r.patterns, &f)
		r.frames = append(r.frames, f)
	}
	r.resume = a.header.Get("X-BUS-RESUME")
}
