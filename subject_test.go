package bus

import (
	"errors"
	"strings"
	"testing"
)

func TestSubjectsThatCanBePublishedTo(t *testing.T) {
	long := strings.Repeat("a", MaxSegmentLen)
	for subject, want := range map[string]bool{
		"orders.created":                    true,
		"orders.eu-west_1.created":          true,
		"_bus_.abc":                         true,
		"a." + long:                         true,
		strings.Repeat("a.", 15) + "a":      true,
		"orders":                            false,
		"":                                  false,
		".":                                 false,
		"orders.":                           false,
		".created":                          false,
		"orders..created":                   false,
		"orders.*":                          false,
		"orders.>":                          false,
		"orders.cre ated":                   false,
		"orders.created\n":                  false,
		"orders.créé":                       false,
		"orders/../x.y":                     false,
		"a." + long + "a":                   false,
		strings.Repeat("a.", 16) + "a":      false,
		strings.Repeat(long+".", 3) + long:  false,
		"orders.\x00":                       false,
		"orders.created.\u202egnp":          false,
		strings.Repeat(long+".", 3) + "abc": true,
	} {
		err := CheckSubject(subject)
		if got := err == nil; got != want {
			t.Errorf("CheckSubject(%.40q) accepted %v (%v), want %v", subject, got, err, want)
		}
		if err != nil && !errors.Is(err, ErrInvalidSubject) {
			t.Errorf("CheckSubject(%.40q): got %v, want an ErrInvalidSubject", subject, err)
		}
	}
}

func TestWildcardsStandWhereTheyMeanSomething(t *testing.T) {
	for pattern, want := range map[string]bool{
		"orders.*": true, "orders.>": true, "orders.*.created": true, "orders.*.>": true, "orders.created": true,
		"*.created": false, ">": false, "orders.>.created": false, "orders.a*": false, "orders.**": false, "_bus_.*": false, "_bus_.>": false,
	} {
		_, err := ParsePattern(pattern)
		if got := err == nil; got != want {
			t.Errorf("ParsePattern(%q) accepted %v (%v), want %v", pattern, got, err, want)
		}
	}
}

func TestPatternsMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, subject string
		want             bool
	}{
		{"orders.created", "orders.created", true},
		{"orders.created", "orders.create", false},
		{"orders.created", "orders.created.eu", false},
		{"orders.*", "orders.created", true},
		{"orders.*", "orders.created.eu", false},
		{"orders.*.eu", "orders.created.eu", true},
		{"orders.*.eu", "orders.created.us", false},
		{"orders.>", "orders.created", true},
		{"orders.>", "orders.created.eu.de", true},
		{"orders.*.>", "orders.created", false},
		{"orders.*.>", "orders.created.eu", true},
		{"orders.>", "order.created", false},
	} {
		p, err := ParsePattern(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Match(c.subject); got != c.want {
			t.Errorf("%s matches %s: got %v, want %v", c.pattern, c.subject, got, c.want)
		}
	}
	if (Pattern{}).Match("a.b") {
		t.Error("the zero pattern matches, want nothing")
	}
}

// slowMatch is Match as one would say it.
func slowMatch(pattern, subject []string) bool {
	switch {
	case len(pattern) == 0:
		return len(subject) == 0
	case pattern[0] == ">":
		return len(subject) > 0
	case len(subject) == 0 || pattern[0] != "*" && pattern[0] != subject[0]:
		return false
	}
	return slowMatch(pattern[1:], subject[1:])
}

func FuzzMatchAgreesWithItsDefinition(f *testing.F) {
	f.Add("orders.*.>", "orders.a.b")
	f.Add("a.b", "a.b.c")
	f.Add("a.>", "a.b")
	f.Fuzz(func(t *testing.T, pattern, subject string) {
		p, err := ParsePattern(pattern)
		if err != nil || CheckSubject(subject) != nil {
			return
		}
		want := slowMatch(strings.Split(pattern, "."), strings.Split(subject, "."))
		if got := p.Match(subject); got != want {
			t.Errorf("%q matches %q: got %v, want %v", pattern, subject, got, want)
		}
		if strings.ContainsAny(subject, "\r\n\x00 /\\\"") {
			t.Errorf("subject %q was accepted", subject)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	p, _ := ParsePattern("orders.*.created.>")
	b.ReportAllocs()
	for b.Loop() {
		p.Match("orders.eu.created.de.berlin")
	}
}
