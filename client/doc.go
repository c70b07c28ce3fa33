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
// Leaving the loop, or cancelling its context, closes the connection, once the event at hand is
// done with and what was gathered of acknowledgements is answered, for which it waits 2 seconds
// at most. Cancelling yields no error.
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
// An Ack is a request, and it returns when the server has answered: nil means settled. Many
// events are acknowledged faster in one of these ways, and nil means the same in each:
//
//   - [Event.AckAsync] in a loop: it does not wait. What is acknowledged within a millisecond
//     leaves in one request, and the result it returns tells the answer to this one event. The
//     end of the loop sends what was gathered; [Client.Flush] does so before, and reports the
//     first error of those whose results nobody looked at.
//   - [WithAckGrouping], an option of NewClient, when many goroutines call Ack: each waits up to
//     a millisecond for others, and gets the answer to its own event. A refused event does not
//     keep the others from being settled, and who cancels only stops waiting himself.
//   - [Client.AckBatch]: up to 1000 events in one request, all of them or none.
//   - [WithUpTo]: one event, and everything of its namespace before it.
//
// A group leaves early when it holds half of what the stream lets out at once, so that the
// stream does not stand still for it, and before half of an event's time for redelivery is over.
// Only what says no more than done is gathered: a verdict, a reply and WithUpTo leave at once.
//
// # Named consumers
//
// With [WithConsumer] the server keeps the place, and [WithAckStrategy] goes without saying: the
// loop goes on where the acknowledgements of the name have come to, after a lost connection, a
// restart of either side, or on another machine. Loops of one name share the work. There an
// Event is acknowledged by the name, also behind the loop and after a reconnect, and nil means
// that it never comes again. [Client.Pull] takes what there is in one request, for programs that
// run now and then; [Client.Consumers] and its neighbours manage the names.
//
// A loop ends with bus.ErrConsumerDiffers, told once, when the consumer is there with other
// settings, and with bus.ErrUnknownConsumer when it is deleted.
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
