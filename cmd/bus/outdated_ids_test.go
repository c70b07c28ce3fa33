package main

import (
	"testing"

	"example.com/bus"
)

func TestAnIdThatTwoNamespacesHaveIsThatOfItsSubject(t *testing.T) {
	s := subjects{newest: map[string]*newestEvent{"a.k": {id: "x"}, "b.k": {id: "x"}}, lines: true}
	dump := []bus.Event{{Id: "x", Subject: "a.k", Index: 1}, {Id: "newer", Subject: "a.k", Index: 2}, {Id: "x", Subject: "b.k", Index: 3}}
	err := s.seen(func(note func(*bus.Event)) error {
		for i := range dump {
			note(&dump[i])
		}
		return nil
	})
	if err != nil || s.have(&dump[1]) {
		t.Errorf("got %v, and that the target has a newer event than the newest", err)
	}
}
