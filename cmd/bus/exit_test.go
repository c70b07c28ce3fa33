package main

import (
	"encoding/json"
	"testing"
)

func TestATerminalIsNotGivenWhatItWouldObey(t *testing.T) {
	in := "{\"a\":\"\u009b2J \u202e é \U000e0001 \u007f 界\"}\n"
	got := string(forTerminal([]byte(in), true))
	want := "{\"a\":\"\\u009b2J \\u202e é \\udb40\\udc01 \\u007f 界\"}\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var before, after any
	if json.Unmarshal([]byte(in), &before) != nil || json.Unmarshal([]byte(got), &after) != nil || before.(map[string]any)["a"] != after.(map[string]any)["a"] {
		t.Errorf("%q and %q are not the same JSON", in, got)
	}
	if got := string(forTerminal([]byte(in), false)); got != in {
		t.Errorf("elsewhere: got %q, want it as it is", got)
	}
}
