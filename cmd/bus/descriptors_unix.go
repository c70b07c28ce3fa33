//go:build unix

package main

import "syscall"

// descriptors returns how many files the process may have open, 0 when there is
// no telling. The Go runtime has raised the soft limit to the hard one.
func descriptors() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return uint64(limit.Cur)
}
