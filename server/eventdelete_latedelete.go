//go:build latedelete

package server

import (
	"context"
	"errors"
	"time"
)

// deleteAll answers first and deletes behind that: a build that shows whether the
// harness of cmd/bus-torture notices. It is for nothing else.
func (s *Server) deleteAll(ctx context.Context, namespace string, indexes []uint64) (already bool, err error) {
	go func() {
		time.Sleep(100 * time.Millisecond)
		all, _, err := s.engine.Delete(ctx, namespace, indexes)
		if err == nil {
			err = errors.Join(s.hub.Removed(namespace, all), s.deleteLetters(ctx, namespace, all))
		}
		if err != nil {
			s.log.Warn("a late deletion could not be done", "error", err)
		}
	}()
	return false, nil
}
