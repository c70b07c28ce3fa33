//go:build lateack

package server

import (
	"context"
	"time"

	"example.com/bus/server/delivery"
)

// Write answers first and writes behind that: a build that shows whether the
// harness of cmd/bus-torture notices. It is for nothing else.
func (c *consumers) Write(ctx context.Context, n delivery.Note) error {
	go func() {
		time.Sleep(100 * time.Millisecond)
		if err := c.write(context.WithoutCancel(ctx), consumerName{n.Namespace, n.Consumer}, consumerEntry{Note: n}); err != nil {
			c.server.log.Warn("a late note could not be written", "error", err)
		}
	}()
	return nil
}
