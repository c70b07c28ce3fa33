package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"example.com/bus"
)

// bodyField is one that an object may have, and where its value goes.
type bodyField struct {
	name   string
	wanted string // in words
	into   any
}

// strictObject reads an object as strictly as a query is read: what is no field, or
// stands twice, is refused, so that a typo cannot turn safety off. null counts as
// absent. what names the object for who has sent another thing.
func strictObject(data []byte, what string, fields []bodyField) error {
	d := json.NewDecoder(bytes.NewReader(data))
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return notObject(data, what, names, err)
	}
	seen := make([]bool, len(fields))
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return notObject(data, what, names, err)
		}
		name, _ := key.(string)
		i := slices.Index(names, name)
		switch {
		case i < 0:
			return bus.ErrUnknownField.With("field %.80q of the %s; wanted some of %s", name, what, strings.Join(names, ", "))
		case seen[i]:
			return bus.ErrInvalidParameter.With("field %q of the %s stands twice", name, what)
		}
		seen[i] = true
		if err := fields[i].read(d); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return notObject(data, what, names, err)
	}
	if d.More() {
		return bus.ErrInvalidJSON.With("something follows the %s", what)
	}
	return nil
}

func (f *bodyField) read(d *json.Decoder) error {
	var value json.RawMessage
	if err := d.Decode(&value); err != nil {
		return bus.ErrInvalidJSON.With("the value of %s: %s", f.name, err)
	}
	if json.Unmarshal(value, f.into) != nil {
		return bus.ErrInvalidJSON.With("%s is %.80s, wanted %s", f.name, value, f.wanted)
	}
	return nil
}

func notObject(data []byte, what string, names []string, err error) error {
	wanted := "an object with some of " + strings.Join(names, ", ")
	if _, isSyntax := errors.AsType[*json.SyntaxError](err); isSyntax {
		return bus.ErrInvalidJSON.With("%s; wanted %s", err, wanted)
	}
	return bus.ErrInvalidJSON.With("the %s are %.80q, wanted %s", what, data, wanted)
}
