package main

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestFramesAreReadWithWhatIsJudgedOfThem(t *testing.T) {
	text := "retry: 2000\n\nid: e_1\nevent: hello\ndata: {}\n\n" +
		"id: e_2\nevent: msg\ndata: {\"id\":\"e_2\",\"index\":42,\"payload\":\"" + strings.Repeat("x", 5000) + "\"}\n\n" +
		"event: ping\ndata: {}\n\nid: e_3\nevent: msg\ndata: {\"index\":43"
	s := &sse{lines: bufio.NewReaderSize(strings.NewReader(text), 64)}
	for _, want := range []frame{{id: "e_1", event: "hello"}, {id: "e_2", event: "msg", index: 42}, {event: "ping"}} {
		got, err := s.next()
		if err != nil || got.id != want.id || got.event != want.event || got.index != want.index {
			t.Errorf("got %+v and %v, want %+v", got, err, want)
		}
	}
	if _, err := s.next(); err != io.EOF || s.id != "e_2" {
		t.Errorf("got %v and %s, want the end, and to resume after the last whole event", err, s.id)
	}
}

func TestAStreamThatHasNotGotWhatIsDueIsTold(t *testing.T) {
	due := make([][]uint64, manyGroups)
	due[0], due[1] = []uint64{1, 3}, []uint64{2, 3}
	for _, c := range []struct {
		got  [][]uint64
		want string
	}{
		{[][]uint64{{1, 3}, {2, 3}}, ""},
		{[][]uint64{{1, 3}, {2}}, "stream 1 got 1 events, want 2: it ends before 3"},
		{[][]uint64{{1, 3, 3}}, "it goes on with 3"},
		{[][]uint64{{3, 1}}, "got 3 in the place of 1"},
	} {
		err := (&herd{got: c.got, due: due}).judge()
		if (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, errFault) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v: got %v, want %q", c.got, err, c.want)
		}
	}
}
