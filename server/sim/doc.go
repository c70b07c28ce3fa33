// Package sim has no code of the product: its tests run the whole server, HTTP
// over connections in memory, delivery, and the disk engine on a file system
// that loses power, in a bubble of testing/synctest whose one source of chance
// is a seed. Each seed is a life: some dozens of steps of publishers, readers,
// consumers, half of the time named ones, crashes and faults. Beside it a small
// model keeps what was answered and seen, and checks the promises of the bus after
// every step.
//
//	go test ./server/sim -run Life                          some lives, as in CI
//	go test ./server/sim -run Life -sim.lives=1000000 -timeout 0
//	go test ./server/sim -run Life -sim.seed=17 -sim.trace  one life, told
//
// A life that fails says the command that replays it and is made shorter by
// leaving out steps while it still fails.
package sim
