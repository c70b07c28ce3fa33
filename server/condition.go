package server

import (
	"net/http"
	"strconv"
	"strings"

	"example.com/bus"
)

// condition reads what a publisher expects of the state that it has decided by.
func condition(r *http.Request, p *params) (when bus.Condition, err error) {
	when = bus.Condition{Index: p.index("expected_index"), SubjectIndex: p.index("expected_subject_index")}
	match, err := matchIndex(r.Header.Values("If-Match"))
	switch {
	case err != nil || !match.Asked():
	case !when.Index.Is(match.Index()):
		err = bus.ErrInvalidParameter.With("If-Match is %d and expected_index %d, wanted one of them, or both alike", match.Index(), when.Index.Index())
	default:
		when.Index = match
	}
	return when, err
}

// index returns what is expected of an index, from 0 on.
func (p *params) index(name string) (e bus.Expected) {
	v := p.text(name)
	if v == "" {
		return e
	}
	n, ok := parseIndex(v)
	if !ok {
		p.fail(name, v, "the index of an event, or 0 for none yet")
		return e
	}
	return bus.Expect(n)
}

// parseIndex reads digits alone: ParseUint knows a sign.
func parseIndex(text string) (uint64, bool) {
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil && n <= bus.MaxIndex && text[0] != '+'
}

// matchIndex reads If-Match: the last index of the namespace, as an entity-tag or
// bare. A list and * stand for several states, and a weak tag for something that is
// nearly the same: none of them is what an expected index is for, and to take one for
// absent would turn safety off.
func matchIndex(values []string) (e bus.Expected, err error) {
	text := strings.Trim(strings.Join(values, ", "), " \t")
	if text == "" {
		return e, nil
	}
	bare := text
	if len(text) >= 2 && strings.HasPrefix(text, `"`) && strings.HasSuffix(text, `"`) {
		bare = text[1 : len(text)-1]
	}
	n, ok := uint64(0), false
	if bare != "" {
		n, ok = parseIndex(bare)
	}
	if !ok {
		return e, bus.ErrInvalidParameter.With("If-Match is %.80q, wanted the last index of the namespace, as in \"41\"", text)
	}
	return bus.Expect(n), nil
}
