package supervisor

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// process is a child of the supervisor.
type process struct {
	pid int
	// done is closed once the process ended; how says how, then.
	done chan struct{}
	how  unix.WaitStatus
}

// reaper starts the supervisor's children and collects every process that ends in the namespace: the supervisor is
// its first process, so orphans become its children.
type reaper struct {
	mutex    sync.Mutex
	children map[int]*process
}

func newReaper() *reaper {
	r := &reaper{children: map[int]*process{}}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	go func() {
		for range ended {
			r.collect()
		}
	}()
	return r
}

// start runs a command whose streams are all files. Nothing but the reaper may wait for it.
func (r *reaper) start(command *exec.Cmd) (*process, error) {
	// Held until the child is known, so that it cannot be collected as an orphan.
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", command.Path, err)
	}
	child := &process{pid: command.Process.Pid, done: make(chan struct{})}
	r.children[child.pid] = child
	return child, nil
}

func (r *reaper) collect() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if child, known := r.children[pid]; known {
			delete(r.children, pid)
			child.how = status
			close(child.done)
		}
	}
}

// ended tells whether the process is over.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// describe says how a process ended.
func describe(status unix.WaitStatus) string {
	if status.Signaled() {
		return fmt.Sprintf("killed by %s", unix.SignalName(syscall.Signal(status.Signal())))
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}
