package bench

// workloads are the rows of the table, in its order.
var workloads = []Workload{
	{"publish-1", "publish, 1 connection", "events/s", true, publishing(1, 1)},
	{"publish-16", "publish, 16 connections", "events/s", true, publishing(16, 1)},
	{"publish-64", "publish, 64 connections", "events/s", true, publishing(64, 1)},
	{"batch-1", "batches of 1000, 1 connection", "events/s", true, publishing(1, 1000)},
	{"batch-4", "batches of 1000, 4 connections", "events/s", true, publishing(4, 1000)},
	{"fanout-100", "fan-out to 100, batches of 100", "deliveries/s", false, fanOut(100, 100)},
	{"fanout-1000", "fan-out to 1000, batches of 100", "deliveries/s", false, fanOut(1000, 100)},
	{"fanout-1000-single", "fan-out to 1000, single events", "deliveries/s", false, fanOut(1000, 1)},
	{"latency-1", "publish to receive, 1 subscriber, 500/s", "events/s", false, latency(1, 500)},
	{"latency-100", "publish to receive, 100 subscribers, 100/s", "deliveries/s", false, latency(100, 100)},
	{"replay", "replay of a long log", "events/s", false, replaying(1, false)},
	{"replay-sealed", "replay of a sealed log", "events/s", false, replaying(1, true)},
	{"replay-4", "replay of a long log, 4 readers", "events/s", false, replaying(4, false)},
	{"resume", "resume by id near the end of a long log", "", false, resuming},
	{"start", "start with a long log, until ready", "", false, starting},
	{"idle", "one event to all idle subscribers", "deliveries/s", false, idle},
	{"ack-single", "acknowledged events, window 64, one a request", "events/s", false, acking(64, 16, false)},
	{"ack-group", "acknowledged events, in groups by up_to", "events/s", false, acking(1000, 1, true)},
	{"reply", "request and reply", "replies/s", false, asking("always")},
	{"reply-os", "request and reply, --sync=os", "replies/s", false, asking("os")},
}
