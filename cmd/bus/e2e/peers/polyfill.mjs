// Reads a stream with event-source-polyfill, which names the last event in the
// query (lastEventId) and not in a header.
import polyfill from 'event-source-polyfill';

new polyfill.EventSourcePolyfill(process.argv[2]).addEventListener('msg', m => console.log(m.data));

// A client that waits to reconnect does not keep Node.js running by itself.
process.stdin.resume();
