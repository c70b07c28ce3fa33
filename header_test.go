package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
)

func TestHeadersComeBackAsTheyWereSentAndStandInOneOrder(t *testing.T) {
	e := Event{Subject: "a.b", Headers: map[string]string{"x": "1", "a": `"quoted" é`, "content-type": "2", "z_9.k": " with space "}}
	const want = `{"id":"","subject":"a.b","created_at":"0001-01-01T00:00:00Z","headers":{"a":"\"quoted\" é","content-type":"2","x":"1","z_9.k":" with space "},"payload":null}`
	line := string(e.AppendJSON(nil))
	if line != want {
		t.Errorf("got  %s\nwant %s", line, want)
	}
	got, err := ParseEvent([]byte(line))
	if err != nil || !maps.Equal(got.Headers, e.Headers) {
		t.Errorf("got %v and %v, want %v", got.Headers, err, e.Headers)
	}
	var whole struct{ Headers map[string]string }
	if err := json.Unmarshal([]byte(line), &whole); err != nil || !maps.Equal(whole.Headers, e.Headers) {
		t.Errorf("encoding/json: got %v and %v", whole.Headers, err)
	}
}

func TestEmptyHeadersCountAsAbsent(t *testing.T) {
	for _, headers := range []string{`null`, `{}`, `{"a":""}`, `{"a":null,"b":""}`, ` { "a" : null } `} {
		got, err := ParseEvent([]byte(`{"subject":"a.b","headers":` + headers + `}`))
		if err != nil || got.Headers != nil || strings.Contains(string(got.AppendJSON(nil)), "headers") {
			t.Errorf("%s: got %v and %v, want none", headers, got.Headers, err)
		}
	}
}

func TestAHeaderThatMayNotBeIsNamed(t *testing.T) {
	many := func(n int) string {
		var members []string
		for i := range n {
			members = append(members, fmt.Sprintf(`"h%d":"v"`, i))
		}
		return "{" + strings.Join(members, ",") + "}"
	}
	for headers, want := range map[string]string{
		`{"Source":"x"}`:     "small letters",
		`{"":"x"}`:           "0 bytes",
		`{"a b":"x"}`:        "' '",
		`{"é":"x"}`:          "found",
		`{"a\u0062":"x"}`:    "wanted a name",
		`{"a":"x","a":"y"}`:  "twice",
		`{"a":null,"a":"y"}`: "twice",
		`{"a":1}`:            "a string",
		`{"a":{"b":"c"}}`:    "a string",
		`["a"]`:              "an object of strings",
		`"a:b"`:              "an object of strings",
		`{"a":"x\ny"}`:       "control character U+000A",
		`{"a":"\u001b[31m"}`: "control character U+001B",
		`{"a":"\ud800"}`:     "surrogate",
		many(33):             "32",
		`{"` + strings.Repeat("n", 65) + `":"x"}`:                                       "65 bytes",
		`{"a":"` + strings.Repeat("v", 1025) + `"}`:                                     "1025 bytes",
		`{"a":"` + strings.Repeat(strings.Repeat("v", 1023)+`","a`, 4) + `":"vvvvvvv"}`: "",
	} {
		_, err := ParseEvent([]byte(`{"subject":"a.b","headers":` + headers + `}`))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: got %v, want an error with %q", headers, err, want)
		}
	}
	if _, err := ParseEvent([]byte(`{"subject":"a.b","headers":` + many(32) + `}`)); err != nil {
		t.Errorf("32 headers: %v", err)
	}
	four := map[string]string{}
	for _, name := range []string{"a", "b", "c", "d"} {
		four[name] = strings.Repeat("v", 1023)
	}
	if err := CheckHeaders(four); err != nil {
		t.Errorf("4096 bytes: %v", err)
	}
	four["d"] += "v"
	if err := CheckHeaders(four); !errors.Is(err, ErrInvalidEvent) || !strings.Contains(err.Error(), "4097 bytes in all") {
		t.Errorf("4097 bytes: got %v", err)
	}
}

func TestAHeaderOnACommandLineIsNameColonValue(t *testing.T) {
	for text, want := range map[string][]string{
		"source:checkout": {"source", "checkout"}, "a: b ": {"a", "b"}, "url:http://x:1/y": {"url", "http://x:1/y"},
		"source": nil, ":x": nil, "a:": nil, "A:x": nil, "a:\n\x00": nil, "": nil,
	} {
		name, value, err := ParseHeader(text)
		if got := []string{name, value}; (err == nil) != (want != nil) || err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %q and %v, want %q", text, got, err, want)
		}
	}
}
