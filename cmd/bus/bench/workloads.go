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
}
