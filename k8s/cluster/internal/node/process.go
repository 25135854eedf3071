package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"ringway.dev/cluster/internal/space"
)

// command is what runs in a container.
type command struct {
	argv []string
	env  []string
	dir  string
}

// process is a container's main process.
type process struct {
	pid int
	// mounts is the link text of its mount namespace, which only the container's processes are in.
	mounts string
	// done is closed once it and all its descendants ended; status is its own, then.
	done   chan struct{}
	status syscall.WaitStatus
}

// spawn starts a container's main process, with enter run before on the thread that becomes its parent.
func spawn(c command, r rights, root *rootfs, out *logFile, enter func() error) (*process, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("the container's output: %w", err)
	}
	p := &process{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel kills the process when this thread ends, so it stays until then.
		runtime.LockOSThread()
		cmd := c.prepare(r, root.dir, writer)
		err := enter()
		if err == nil {
			cmd.Path, err = lookUp(c.argv[0], root.dir)
		}
		if err == nil {
			err = p.begin(cmd)
		}
		writer.Close()
		if err != nil {
			reader.Close()
			started <- err
			return
		}
		started <- nil
		copied := make(chan struct{})
		go func() { out.copyFrom(reader); close(copied) }()
		p.finish(cmd, reader, copied)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// prepare describes the process to start; its path is one of the container's.
func (c command) prepare(r rights, root string, out *os.File) *exec.Cmd {
	return &exec.Cmd{
		Path:   c.argv[0],
		Args:   c.argv,
		Env:    c.env,
		Dir:    c.dir,
		Stdout: out,
		Stderr: out,
		SysProcAttr: &syscall.SysProcAttr{
			Chroot:      root,
			Setsid:      true,
			Pdeathsig:   unix.SIGKILL,
			Credential:  &syscall.Credential{Uid: r.uid, Gid: r.gid, Groups: r.groups},
			AmbientCaps: r.ambient,
		},
	}
}

func (p *process) begin(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	p.pid = cmd.Process.Pid
	mounts, err := os.Readlink("/proc/thread-self/ns/mnt")
	if err != nil {
		return fmt.Errorf("the container's mounts: %w", err)
	}
	p.mounts = mounts
	return nil
}

func (p *process) finish(cmd *exec.Cmd, reader *os.File, copied <-chan struct{}) {
	// A failed wait leaves the zero status, which is that of success; there is no failure but being no child.
	_ = cmd.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok {
		p.status = status
	}
	p.sweep()
	<-copied
	close(p.done)
}

// sweep kills what the main process left behind in its container.
func (p *process) sweep() {
	entries, err := filepath.Glob("/proc/[0-9]*/ns/mnt")
	if err != nil {
		return
	}
	for _, entry := range entries {
		if mounts, err := os.Readlink(entry); err != nil || mounts != p.mounts {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(entry))))
		if err == nil && pid != os.Getpid() {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

func (p *process) signal(signal unix.Signal) {
	if p.ended() {
		return
	}
	// It may end at any moment; then there is nobody to signal, and its number is not given anew before it is waited for.
	_ = unix.Kill(p.pid, signal)
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// exitCode is the code that Kubernetes reports.
func (p *process) exitCode() int32 {
	if p.status.Signaled() {
		return 128 + int32(p.status.Signal())
	}
	return int32(p.status.ExitStatus())
}

// runBeside runs a command in the namespaces and the root folder of a running container.
func (p *process) runBeside(argv []string, env []string, r rights, root string, stop <-chan struct{}) error {
	return space.OnThread(func() error {
		if err := space.JoinProcess(p.pid, space.Network, space.Host, space.Mount); err != nil {
			return err
		}
		if err := r.confine(); err != nil {
			return err
		}
		cmd := command{argv: argv, env: env, dir: "/"}.prepare(r, root, nil)
		// A nil *os.File would not be a nil writer.
		cmd.Stdout, cmd.Stderr = nil, nil
		path, err := lookUp(argv[0], root)
		if err != nil {
			return err
		}
		cmd.Path = path
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("starting %s: %w", argv[0], err)
		}
		waited := make(chan error, 1)
		go func() { waited <- cmd.Wait() }()
		select {
		case err := <-waited:
			return err
		case <-stop:
			_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
			<-waited
			return errors.New("it took too long")
		}
	})
}

// lookUp finds a command in the search path of a container, of which the calling thread must see the mounts.
func lookUp(name, root string) (string, error) {
	if filepath.Base(name) != name {
		return name, nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/"} {
		info, err := os.Stat(filepath.Join(root, dir, name))
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return filepath.Join(dir, name), nil
		}
	}
	return "", fmt.Errorf("%s is not in the container's search path", name)
}
