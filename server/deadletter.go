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

// deadLetter counts each, and names as many as a person can look at: any GET with
// ack=manual that settles nothing makes dead letters of a whole log.
func (s *Server) deadLetter(consumer string, e *bus.Event, why string) {
	s.metrics.deadLetter()
	s.dead.warn(s.log, "event given up "+why, "event", e.Id, "subject", e.Subject, "consumer", consumer)
}
