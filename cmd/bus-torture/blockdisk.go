package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// asDisk tells the process that it is to serve a disk. It is one of its own: a
// harness that waits for the disk (in an unmount, in a fork) cannot serve it.
const asDisk = "BUS_TORTURE_DISK"

// loggedDisk is a file that another process serves through FUSE, and that writes
// down each block and each flush. A loop device makes a disk of it.
type loggedDisk struct {
	path     string // of the file, for the loop device
	log      string
	position *position
	process  *exec.Cmd
	stdin    io.Closer // when it is closed the process ends
	ended    chan error
}

// newLoggedDisk serves image below dir.
func newLoggedDisk(dir, image string) (*loggedDisk, error) {
	mount := filepath.Join(dir, "fuse")
	d := &loggedDisk{path: filepath.Join(mount, diskName), log: filepath.Join(dir, "blocks"), ended: make(chan error, 1)}
	if err := os.Mkdir(mount, 0o700); err != nil {
		return nil, err
	}
	var err error
	if d.position, err = newPosition(filepath.Join(dir, "position")); err != nil {
		return nil, err
	}
	if err := d.launch(image, mount); err != nil {
		return nil, errors.Join(err, d.position.close())
	}
	return d, nil
}

// launch returns when the file can be opened.
func (d *loggedDisk) launch(image, mount string) error {
	path, err := os.Executable()
	if err != nil {
		return err
	}
	d.process = exec.Command(path, image, mount, d.log)
	d.process.Env = append(os.Environ(), asDisk+"=1")
	d.process.ExtraFiles = []*os.File{d.position.file}
	d.process.Stderr = os.Stderr
	if d.stdin, err = d.process.StdinPipe(); err != nil {
		return err
	}
	out, err := d.process.StdoutPipe()
	if err != nil {
		return err
	}
	if err := d.process.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	go func() { d.ended <- d.process.Wait() }()
	if err != nil || line != "ready\n" {
		return fmt.Errorf("a disk over FUSE: got %q: %w", line, errors.Join(err, d.end()))
	}
	return nil
}

// end returns when the log is complete. Nothing may be mounted from the disk any more.
func (d *loggedDisk) end() error {
	d.stdin.Close()
	if err := <-d.ended; err != nil {
		return fmt.Errorf("the process of the disk: %w", err)
	}
	return nil
}

// serveDisk is the other process: it returns whether this one is it.
func serveDisk(args []string) (int, bool) {
	if os.Getenv(asDisk) == "" {
		return 0, false
	}
	if err := serveFile(args[0], args[1], args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "disk:", err)
		return 1, true
	}
	return 0, true
}

// serveFile serves until its standard input ends.
func serveFile(image, mount, log string) error {
	node := &diskNode{}
	var err error
	if node.image, err = os.OpenFile(image, os.O_RDWR, 0); err != nil {
		return err
	}
	defer node.image.Close()
	f, err := os.Create(log)
	if err != nil {
		return err
	}
	defer f.Close()
	node.log = bufio.NewWriterSize(f, 1<<20)
	if node.position, err = openPosition(os.NewFile(3, "position")); err != nil {
		return err
	}
	root := &fs.Inode{}
	server, err := fs.Mount(mount, root, &fs.Options{
		MountOptions: fuse.MountOptions{DirectMountStrict: true, DisableXAttrs: true, FsName: "bus-torture", MaxWrite: 1 << 20},
		OnAdd: func(ctx context.Context) {
			root.AddChild(diskName, root.NewPersistentInode(ctx, node, fs.StableAttr{Mode: syscall.S_IFREG}), false)
		},
	})
	if err != nil {
		return fmt.Errorf("mount %s: %w", mount, err)
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	return errors.Join(server.Unmount(), node.failed, node.log.Flush())
}

// diskName is what the file is called.
const diskName = "disk"

// diskNode is the file. All calls are safe for many goroutines.
type diskNode struct {
	fs.Inode
	image    *os.File
	position *position

	mu     sync.Mutex // guards what follows, and makes the log's order that of the writes
	log    *bufio.Writer
	failed error // of the log; the disk says EIO from then on
}

var (
	_ fs.NodeOpener    = (*diskNode)(nil)
	_ fs.NodeGetattrer = (*diskNode)(nil)
	_ fs.NodeReader    = (*diskNode)(nil)
	_ fs.NodeWriter    = (*diskNode)(nil)
	_ fs.NodeFsyncer   = (*diskNode)(nil)
)

// Open has the kernel keep nothing: what it writes is to come here, when it is
// written.
func (n *diskNode) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (n *diskNode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	info, err := n.image.Stat()
	if err != nil {
		return fs.ToErrno(err)
	}
	out.Mode, out.Size = syscall.S_IFREG|0o600, uint64(info.Size())
	return 0
}

func (n *diskNode) Read(_ context.Context, _ fs.FileHandle, into []byte, offset int64) (fuse.ReadResult, syscall.Errno) {
	got, err := n.image.ReadAt(into, offset)
	if err != nil && err != io.EOF {
		return nil, fs.ToErrno(err)
	}
	return fuse.ReadResultData(into[:got]), 0
}

func (n *diskNode) Write(_ context.Context, _ fs.FileHandle, data []byte, offset int64) (uint32, syscall.Errno) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.note(blockRecord{kind: blockWrite, offset: offset, data: data})
	if n.failed != nil {
		return 0, syscall.EIO
	}
	written, err := n.image.WriteAt(data, offset)
	return uint32(written), fs.ToErrno(err)
}

// Fsync is a flush of the disk. This file's own image needs none: the power that
// fails is only in the log.
func (n *diskNode) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	n.mu.Lock()
	asked := n.note(blockRecord{kind: blockFlush})
	n.mu.Unlock()
	n.mu.Lock() // what is written meanwhile is not covered
	defer n.mu.Unlock()
	n.note(blockRecord{kind: blockFlushed, offset: int64(asked)})
	if n.failed != nil {
		return syscall.EIO
	}
	return 0
}

// note counts a record before it is acted upon, and writes it down.
func (n *diskNode) note(r blockRecord) uint64 {
	at := n.position.next()
	if n.failed == nil {
		n.failed = appendRecord(n.log, r)
	}
	return at
}
