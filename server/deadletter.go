package server

import (
	"example.com/bus"
	"example.com/bus/server/delivery"
)

// deadLetters tells of events that a consumer did not acknowledge in all its
// attempts.
func (s *Server) deadLetters(consumer string, dead []delivery.Delivery) {
	for _, d := range dead {
		s.deadLetter(consumer, d.Event, "after its last attempt")
	}
}

func (s *Server) deadLetter(consumer string, e *bus.Event, why string) {
	s.metrics.deadLetter()
	s.log.Warn("event given up "+why, "event", e.Id, "subject", e.Subject, "consumer", consumer)
}
