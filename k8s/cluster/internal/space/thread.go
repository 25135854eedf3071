// Package space runs code on threads of their own in Linux namespaces. Namespaces belong to threads, and Go moves
// goroutines between threads, so whoever changes one must keep its thread and throw it away afterwards.
package space

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// OnThread runs work on a new thread that nothing else uses, and that ends with it, whatever it did to its namespaces.
// Children started by work must be waited for in it if they are to die with this process.
func OnThread(work func() error) error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the runtime ends the thread together with the goroutine.
		runtime.LockOSThread()
		done <- work()
	}()
	return <-done
}

// Kind is a sort of namespace.
type Kind struct {
	file string
	flag int
}

// The kinds of namespaces in use here.
var (
	Network = Kind{file: "net", flag: unix.CLONE_NEWNET}
	Mount   = Kind{file: "mnt", flag: unix.CLONE_NEWNS}
	Process = Kind{file: "pid", flag: unix.CLONE_NEWPID}
	Host    = Kind{file: "uts", flag: unix.CLONE_NEWUTS}
)

// Open gives a namespace of a running process. It lives at least as long as the file is open.
func Open(pid int, kind Kind) (*os.File, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, kind.file))
	if err != nil {
		return nil, fmt.Errorf("a namespace of process %d: %w", pid, err)
	}
	return file, nil
}

// Join moves the calling thread, which must be one of OnThread's, into a namespace. For Process it is the children
// of the thread that are in it.
func Join(file *os.File, kind Kind) error {
	if kind == Mount {
		// The kernel moves only threads that share their root and working folder with no other one.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("leaving the shared working folder: %w", err)
		}
	}
	if err := unix.Setns(int(file.Fd()), kind.flag); err != nil {
		return fmt.Errorf("joining a %s namespace: %w", kind.file, err)
	}
	return nil
}

// JoinProcess joins namespaces of a running process, in the order given.
func JoinProcess(pid int, kinds ...Kind) error {
	files := make([]*os.File, 0, len(kinds))
	for _, kind := range kinds {
		// All are opened first: after joining a mount namespace, /proc may number processes differently.
		file, err := Open(pid, kind)
		if err != nil {
			return err
		}
		defer file.Close()
		files = append(files, file)
	}
	for index, kind := range kinds {
		if err := Join(files[index], kind); err != nil {
			return err
		}
	}
	return nil
}

// NewNetwork makes an empty network namespace, which lives as long as the file is open or a process is in it.
func NewNetwork() (*os.File, error) {
	var file *os.File
	err := OnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("a new network namespace: %w", err)
		}
		opened, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return fmt.Errorf("a new network namespace: %w", err)
		}
		file = opened
		return nil
	})
	return file, err
}
