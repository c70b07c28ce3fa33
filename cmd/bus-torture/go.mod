module example.com/bus/cmd/bus-torture

go 1.26.0

require example.com/bus v0.0.0

require github.com/anishathalye/porcupine v1.3.1

require (
	github.com/hanwen/go-fuse/v2 v2.12.1
	golang.org/x/sys v0.49.0 // indirect
)

replace example.com/bus => ../..
