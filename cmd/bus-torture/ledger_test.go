package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// letterOf is a dead letter as the server keeps it.
func letterOf(t *testing.T, o obituary) event {
	t.Helper()
	payload, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return event{Payload: payload}
}

func TestEachBrokenPromiseToANamedConsumerIsTold(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		live func(*ledger)
		dead []obituary
		want string // "": nothing
	}{
		"acknowledged":               {live: func(l *ledger) { l.deliver("e", now); l.say([]string{"e"}); l.answer([]string{"e"}) }},
		"a dead letter":              {live: func(l *ledger) { l.deliver("e", now) }, dead: []obituary{{"e", workAttempts, "attempts", now}}},
		"given up":                   {live: func(l *ledger) { l.deliver("e", now); l.giveUp("e") }, dead: []obituary{{"e", 1, "term", now}}},
		"never delivered":            {live: func(l *ledger) {}, want: "never delivered"},
		"settled by nobody":          {live: func(l *ledger) { l.deliver("e", now) }, want: "nobody has acknowledged"},
		"a dead letter that is lost": {live: func(l *ledger) { l.deliver("e", now); l.say([]string{"e"}); l.giveUp("e") }, want: "no dead letter"},
		"given up too early":         {live: func(l *ledger) { l.deliver("e", now) }, dead: []obituary{{"e", 2, "attempts", now}}, want: "after 2 attempts"},
		"given up behind its answer": {live: func(l *ledger) { l.deliver("e", now); l.say([]string{"e"}); l.answer([]string{"e"}) }, dead: []obituary{{"e", workAttempts, "attempts", now.Add(time.Hour)}}, want: "behind its answered"},
		"kept too often":             {live: func(l *ledger) { l.deliver("e", now) }, dead: []obituary{{"e", workAttempts, "attempts", now}, {"e", workAttempts, "attempts", now}, {"e", workAttempts, "attempts", now}}, want: "3 dead letters after 1 kills"},
		"delivered behind its answer": {live: func(l *ledger) {
			l.say([]string{"e"})
			l.answer([]string{"e"})
			l.deliver("e", time.Now().Add(time.Second))
		}, want: "opened"},
		"on its way when it was taken": {live: func(l *ledger) { l.say([]string{"e"}); l.answer([]string{"e"}); l.deliver("e", now.Add(-time.Second)) }},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger()
			c.live(l)
			var dead []event
			for _, o := range c.dead {
				dead = append(dead, letterOf(t, o))
			}
			_, err := l.judge([]event{{Id: "e", Index: 1}}, dead, 1)
			if c.want == "" && err != nil {
				t.Errorf("got %v, want nothing", err)
			}
			if c.want != "" && (!errors.Is(err, errFault) || !strings.Contains(fmt.Sprint(err), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
