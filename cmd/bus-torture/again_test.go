package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAnEndThatWasToldAfterTheFirstCutStandsAfterTheSecond(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"last_index":3}`)
	}))
	defer web.Close()
	l := &life{server: &server{addr: strings.TrimPrefix(web.URL, "http://")}, http: web.Client()}
	for _, c := range []struct {
		told uint64
		cut  int
		want int
	}{{3, 10, 0}, {4, 10, 1}, {4, 9, 0}} { // at 9 nobody had been told yet
		var v verdict
		i := &imaged{life: l, opened: 10, tails: map[string]uint64{"a": c.told}}
		if err := i.stillTold(t.Context(), cutPoint{at: c.cut}, &v); err != nil || v.unseen != c.want || v.faults() != c.want {
			t.Errorf("told of %d, cut after %d: got %s and %v, want seen and gone %d", c.told, c.cut, &v, err, c.want)
		}
	}
}
