package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// What the kernel calls them, from linux/loop.h.
const (
	loopGetFree   = 0x4C82
	loopConfigure = 0x4C0A
	loopAutoclear = 4

	configSize  = 304 // struct loop_config
	configFlags = 60  // offset of info.lo_flags in it
)

// attach makes a disk of a file: it returns the name of the loop device, and a
// handle that keeps it. When the handle is closed and nothing is mounted from it
// any more the kernel takes the device away by itself, also when this process
// was killed.
func attach(image string) (string, *os.File, error) {
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return "", nil, err
	}
	defer file.Close() // the device has it
	const tries = 20
	for range tries {
		name, device, err := attachFree(file)
		if errors.Is(err, syscall.EBUSY) {
			continue // somebody else was faster
		}
		return name, device, err
	}
	return "", nil, fmt.Errorf("no free loop device in %d attempts", tries)
}

func attachFree(file *os.File) (string, *os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", nil, err
	}
	defer control.Close()
	number, err := ioctl(control, loopGetFree, nil)
	if err != nil {
		return "", nil, fmt.Errorf("a free loop device: %w", err)
	}
	name := fmt.Sprintf("/dev/loop%d", number)
	// To write is asked for only while it is set up: some kernels mount nothing
	// that another could write to.
	writable, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return "", nil, err
	}
	defer writable.Close()
	config := make([]byte, configSize)
	binary.NativeEndian.PutUint32(config, uint32(file.Fd()))
	binary.NativeEndian.PutUint32(config[configFlags:], loopAutoclear)
	if _, err := ioctl(writable, loopConfigure, unsafe.Pointer(&config[0])); err != nil {
		return "", nil, fmt.Errorf("set up %s: %w", name, err)
	}
	device, err := os.Open(name)
	return name, device, err
}

// ioctl calls the kernel with a pointer, or with nothing.
func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) (uintptr, error) {
	r, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(arg))
	runtime.KeepAlive(f)
	if errno != 0 {
		return 0, errno
	}
	return r, nil
}
