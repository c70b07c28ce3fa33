// Reads a stream with the npm package eventsource.
import { EventSource } from 'eventsource';

new EventSource(process.argv[2]).addEventListener('msg', m => console.log(m.data));

// A client that waits to reconnect does not keep Node.js running by itself.
process.stdin.resume();
