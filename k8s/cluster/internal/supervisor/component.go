package supervisor

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ringway.dev/cluster/internal/state"
)

// restartPause is how long a component that ended by itself stays down.
const restartPause = time.Second

// component is one long-running process of the control plane or the node.
type component struct {
	name   string
	args   []string
	ready  func(context.Context) error
	folder state.Folder
	reaper *reaper

	mutex    sync.Mutex
	process  *process
	held     bool
	restarts int
}

// start runs the component and keeps it running until hold.
func (c *component) start() error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.held = false
	if c.process != nil && !c.process.ended() {
		return nil
	}
	return c.launch()
}

// launch needs the mutex.
func (c *component) launch() error {
	output, err := os.OpenFile(c.folder.Log(c.name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("the log of %s: %w", c.name, err)
	}
	defer output.Close()
	command := exec.Command("/proc/self/exe", append([]string{"internal", c.name}, c.args...)...)
	command.Args[0] = "cluster"
	command.Dir = "/"
	command.Stdout, command.Stderr = output, output
	c.process, err = c.reaper.start(command)
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	go c.watch(c.process)
	return nil
}

// watch restarts the component when its process ended and nobody wanted that.
func (c *component) watch(process *process) {
	<-process.done
	c.mutex.Lock()
	held := c.held
	c.mutex.Unlock()
	log.Printf("%s ended: %s", c.name, describe(process.how))
	if held {
		return
	}
	time.Sleep(restartPause)
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.held || c.process != process {
		return
	}
	c.restarts++
	if err := c.launch(); err != nil {
		log.Printf("%v", err)
	}
}

// hold kills the component and keeps it down until start.
func (c *component) hold() error {
	c.mutex.Lock()
	c.held = true
	process := c.process
	c.mutex.Unlock()
	if process == nil || process.ended() {
		return nil
	}
	if err := unix.Kill(process.pid, unix.SIGKILL); err != nil {
		return fmt.Errorf("killing %s: %w", c.name, err)
	}
	<-process.done
	return nil
}

// renew replaces the component's process at once.
func (c *component) renew() error {
	if err := c.hold(); err != nil {
		return err
	}
	return c.start()
}

// absent tells whether no process of the component runs.
func (c *component) absent() bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.process == nil || c.process.ended()
}

// await waits until the component answers, and fails as soon as its process has ended.
func (c *component) await(ctx context.Context) error {
	for {
		c.mutex.Lock()
		process := c.process
		c.mutex.Unlock()
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := c.ready(attempt)
		cancel()
		if err == nil {
			return nil
		}
		if process == nil || process.ended() {
			return fmt.Errorf("%s ended while it started; %s", c.name, c.lastLines())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w; %s", c.name, err, c.lastLines())
		case <-time.After(25 * time.Millisecond):
		}
	}
}

// lastLines quotes the end of the component's log.
func (c *component) lastLines() string {
	text, err := state.Tail(c.folder.Log(c.name), 15)
	if err != nil || text == "" {
		return "it logged nothing"
	}
	return "the end of its log:\n" + text
}

// Condition is how one component is.
type Condition struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	PID      int    `json:"pid,omitempty"`
	Restarts int    `json:"restarts"`
	Resident int    `json:"residentKiB,omitempty"`
}

func (c *component) condition() Condition {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	condition := Condition{Name: c.name, Restarts: c.restarts, State: "not started"}
	switch {
	case c.process == nil:
	case !c.process.ended():
		condition.State = "running"
		condition.PID = c.process.pid
		condition.Resident = resident(c.process.pid)
	case c.held:
		condition.State = "held down"
	default:
		condition.State = "restarting"
	}
	return condition
}

// resident is the memory of a process in KiB, 0 if it is gone.
func resident(pid int) int {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, pages int
	if _, err := fmt.Sscan(string(content), &size, &pages); err != nil {
		return 0
	}
	return pages * os.Getpagesize() / 1024
}
