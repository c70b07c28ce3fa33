module example.com/bus/cmd/bus-torture

go 1.26.0

require example.com/bus v0.0.0

replace example.com/bus => ../..
