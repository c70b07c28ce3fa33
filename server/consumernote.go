//go:build !lateack

package server

import (
	"context"

	"example.com/bus/server/delivery"
)

// Write is the Journal of the hub.
func (c *consumers) Write(ctx context.Context, n delivery.Note) error {
	return c.write(ctx, consumerName{n.Namespace, n.Consumer}, consumerEntry{Note: n})
}
