// Package client speaks to a bus server over HTTP. It knows the wire and nothing of how a
// server keeps events.
//
//	c := client.NewClient("http://localhost:2021")
//
//	err := c.Put(ctx, client.WithSubject("orders.created"), client.WithData(order)).Error()
//
//	for event, err := range c.Get(ctx, client.WithSubject("orders.>"), client.WithStartFrom(client.StartOldest)) {
//		if err != nil {
//			return err
//		}
//		…
//	}
//
// # What a loop over Get promises
//
// Events of a namespace come in index order, each as a value of its own. When the connection
// breaks, the server restarts or answers 429 or 5xx, the loop goes on by itself: it waits a
// little longer each time, asks for what follows the last event, and says nothing to the
// program (see [WithLogger]). A refusal that trying again cannot change, such as an unknown
// namespace, is yielded once and ends the loop.
//
// With an error the event is nil. Two kinds of error do not end the loop: a [*GapError] says
// which events cannot be had any more, and an [*Error] from within the stream says what the
// server found. A program that gives up on any error returns; one that does not, continues.
//
// A loop with a bound ([WithLimit], [WithWait], [WithUntilNewest]) ends without an error when it
// has reached that, and for no other reason: the server says so in the stream, and a connection
// that ends without that word is taken up again, however clean its end looks. A server older
// than this package does not say it: such a loop over until or wait goes on.
//
// Leaving the loop, or cancelling its context, closes the connection. Cancelling yields no
// error.
//
// # Acknowledging
//
// With [WithAckStrategy] and [AckManual] an event that is not acknowledged comes again, also
// after a reconnect. [Event.Ack] belongs inside the loop: the consumer it speaks for is gone
// when the loop ends. In other streams Ack is a confirmation to a publisher that waits for one
// ([WithConfirm]), and with [WithData] a reply to one that asked ([WithRequestReply]). A stream
// with a bound may be over at the server before the loop gets to its last events: what is to
// be acknowledged from there is read with AckManual, which stays until it is.
//
// # Trying again
//
// Put sends once: whether a request that broke off was taken cannot be known, and a second
// one could publish twice. With [WithKey] the server knows a repeat, and Put tries again until
// its time is over: what [WithTimeout] or the context's deadline say, and otherwise 5 minutes.
//
// # Errors
//
// What a server refuses is an [*Error] with a stable code; errors.Is compares it with the
// sentinels of package bus, such as bus.ErrUnknownNamespace. Options that make no sense are
// reported in the same way, before anything is sent.
package client
