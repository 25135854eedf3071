package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Identity names one process for good: a process number alone may belong to another one later.
type Identity struct {
	// PID is the process number as the machine sees it.
	PID int `json:"pid"`
	// Started is the kernel's start time of the process, in clock ticks after boot.
	Started string `json:"started"`
}

// Identify gives the identity of a running process.
func Identify(pid int) (Identity, error) {
	fields, err := statFields(pid)
	if err != nil {
		return Identity{}, err
	}
	return Identity{PID: pid, Started: fields[startField]}, nil
}

// Indices into what follows the command name in /proc/PID/stat.
const (
	stateField = 0
	startField = 19
)

func statFields(pid int) ([]string, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	end := strings.LastIndexByte(string(content), ')')
	fields := strings.Fields(string(content[end+1:]))
	if len(fields) <= startField {
		return nil, fmt.Errorf("/proc/%d/stat has only %d fields", pid, len(fields))
	}
	return fields, nil
}

// Alive tells whether the process still runs. A zombie does not: everything it held is gone.
func (i Identity) Alive() bool {
	fields, err := statFields(i.PID)
	return err == nil && fields[startField] == i.Started && fields[stateField] != "Z"
}

// Kill ends the process with SIGKILL and waits until it is gone.
func (i Identity) Kill(patience time.Duration) error {
	handle, err := unix.PidfdOpen(i.PID, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("process %d: %w", i.PID, err)
	}
	if err != nil || !i.Alive() {
		return nil
	}
	defer unix.Close(handle)
	if err := unix.PidfdSendSignal(handle, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("killing process %d: %w", i.PID, err)
	}
	for deadline := time.Now().Add(patience); i.Alive(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d is still there %s after SIGKILL", i.PID, patience)
		}
	}
	return nil
}

func (f Folder) supervisorPath() string { return filepath.Join(f.Path, "supervisor.json") }

// WriteSupervisor keeps the identity of the cluster's supervisor.
func (f Folder) WriteSupervisor(identity Identity) error {
	return writeJSON(f.supervisorPath(), identity)
}

// ErrDown says that the cluster is not up.
var ErrDown = errors.New("the cluster is not up")

// Supervisor gives the identity of the cluster's running supervisor, or ErrDown.
func (f Folder) Supervisor() (Identity, error) {
	var identity Identity
	if err := readJSON(f.supervisorPath(), &identity); errors.Is(err, os.ErrNotExist) {
		return Identity{}, fmt.Errorf("%s: %w", f.Name, ErrDown)
	} else if err != nil {
		return Identity{}, fmt.Errorf("the cluster's supervisor: %w", err)
	}
	if identity.Alive() {
		return identity, nil
	}
	// To a command that runs in the cluster the supervisor is process 1.
	if inside, err := Identify(1); err == nil && inside.Started == identity.Started {
		return inside, nil
	}
	return Identity{}, fmt.Errorf("%s: %w", f.Name, ErrDown)
}
