package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"ringway.dev/cluster/internal/space"
	"ringway.dev/cluster/internal/state"
	"ringway.dev/cluster/internal/supervisor"
)

// Exit statuses of a shell for commands that do not run.
const (
	exitNotFound = 127
	exitSignal   = 128
)

func execute(arguments []string) error {
	set, name := flags("exec")
	pod := set.String("pod", "", "run in the network of this pod (`NAMESPACE/POD`)")
	if err := parse(set, arguments, 1, -1); err != nil {
		return err
	}
	folder, identity, err := running(*name)
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	if err := addOwnTools(); err != nil {
		return err
	}
	command := exec.Command(set.Arg(0), set.Args()[1:]...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.Dir = dir
	command.Env = append(os.Environ(), "KUBECONFIG="+folder.Kubeconfig(), nameVariable+"="+*name)
	return space.OnThread(func() error {
		if err := enter(folder, identity, *pod); err != nil {
			return err
		}
		return runForwarding(command, supervisor.Dial(folder))
	})
}

// addOwnTools lets kubectl, and whatever else was built beside this binary, be found by name where the machine has none.
func addOwnTools() error {
	own, err := os.Executable()
	if err != nil {
		return err
	}
	return os.Setenv("PATH", os.Getenv("PATH")+string(os.PathListSeparator)+filepath.Dir(own))
}

// enter moves the calling thread into the node's namespaces, or the network of a pod on it.
func enter(folder state.Folder, identity state.Identity, pod string) error {
	if pod == "" {
		return space.JoinProcess(identity.PID, space.Network, space.Host, space.Process, space.Mount)
	}
	if err := space.JoinProcess(identity.PID, space.Host, space.Process, space.Mount); err != nil {
		return err
	}
	// From here on /proc numbers processes as the node does.
	pid, err := processOf(folder, pod)
	if err != nil {
		return err
	}
	return space.JoinProcess(pid, space.Network)
}

// processOf gives a process of a pod, as the node numbers it.
func processOf(folder state.Folder, pod string) (int, error) {
	if strings.Count(pod, "/") != 1 {
		return 0, usageError{fmt.Errorf("--pod %s: want NAMESPACE/POD", pod)}
	}
	for where, err := range pods(folder) {
		if err != nil {
			return 0, err
		}
		if where.pod == pod {
			return where.pid, nil
		}
	}
	return 0, fmt.Errorf("no process of pod %s runs", pod)
}

// runForwarding runs a command and hands signals on to it. Should this process be killed, the supervisor kills the
// command: the kernel's way to do that knows no parents in other process namespaces.
func runForwarding(command *exec.Cmd, supervisor *supervisor.Client) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	defer signal.Stop(signals)
	if err := command.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(os.Stderr, "cluster exec: %v\n", err)
			return ExitError(exitNotFound)
		}
		return err
	}
	ended := make(chan struct{})
	go forward(command.Process, signals, ended)
	// Without a supervisor there is no command for long.
	go func() { _ = supervisor.Tie(context.Background(), inner(command.Process.Pid)) }()
	err := command.Wait()
	close(ended)
	var failed *exec.ExitError
	if !errors.As(err, &failed) {
		return err
	}
	if status, ok := failed.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return ExitError(exitSignal + int(status.Signal()))
	}
	return ExitError(failed.ExitCode())
}

// inner gives a process's number in the innermost namespace that has one for it, 0 if it is gone.
func inner(pid int) int {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(content), "\n") {
		if numbers, found := strings.CutPrefix(line, "NSpid:"); found {
			fields := strings.Fields(numbers)
			number, err := strconv.Atoi(fields[len(fields)-1])
			if err != nil {
				return 0
			}
			return number
		}
	}
	return 0
}

func forward(process *os.Process, signals <-chan os.Signal, ended <-chan struct{}) {
	_, err := unix.IoctlGetTermios(int(os.Stdin.Fd()), unix.TCGETS)
	terminal := err == nil
	for {
		select {
		case <-ended:
			return
		case received := <-signals:
			// A terminal sends these to the whole foreground, the command included.
			if terminal && (received == unix.SIGINT || received == unix.SIGQUIT) {
				continue
			}
			_ = process.Signal(received)
		}
	}
}

// where is a pod that has a process.
type where struct {
	pod string
	pid int
}

// pods gives the pods that the node agent runs.
func pods(folder state.Folder) func(yield func(where, error) bool) {
	return func(yield func(where, error) bool) {
		files, err := filepath.Glob(filepath.Join(folder.Pods(), "*", "where"))
		if err != nil {
			yield(where{}, err)
			return
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				continue
			}
			var found where
			if _, err := fmt.Sscan(string(content), &found.pod, &found.pid); err != nil {
				continue
			}
			if !yield(found, nil) {
				return
			}
		}
	}
}
