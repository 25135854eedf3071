package node

import (
	"context"
	"errors"
	"fmt"
	"log"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/api/core/v1"

	"ringway.dev/cluster/internal/state"
)

const (
	// retryPause is the time between attempts to start a container that lacks its image or configuration.
	retryPause = 500 * time.Millisecond
	// restartPauseMax bounds the pause before a container that ended starts again; it doubles up to that.
	restartPauseMax = 5 * time.Second
	// steadyAfter is how long a container must run for the pause to begin small again.
	steadyAfter = 10 * time.Second
)

// Reasons for waiting, as a kubelet gives them.
const (
	reasonCreating  = "ContainerCreating"
	reasonImage     = "ImagePullBackOff"
	reasonConfig    = "CreateContainerConfigError"
	reasonCreate    = "CreateContainerError"
	reasonCrash     = "CrashLoopBackOff"
	reasonPodInit   = "PodInitializing"
	reasonError     = "Error"
	reasonCompleted = "Completed"
)

// container runs one container of a pod, again and again if need be. The worker's mutex guards its state.
type container struct {
	worker *worker
	spec   *v1.Container
	log    *logFile
	policy v1.RestartPolicy

	state    v1.ContainerState
	last     v1.ContainerState
	restarts int32
	ready    bool
	image    string
	process  *process
	// finished says that it ended for good.
	finished bool
}

func newContainer(w *worker, pod *v1.Pod, spec *v1.Container, statuses []v1.ContainerStatus) *container {
	c := &container{
		worker: w,
		spec:   spec,
		log:    &logFile{path: filepath.Join(w.dir, spec.Name+".log")},
		policy: pod.Spec.RestartPolicy,
		state:  waiting(reasonCreating, ""),
	}
	for _, status := range statuses {
		// The agent before this one ran it.
		if status.Name == spec.Name && status.ContainerID != "" {
			c.restarts = status.RestartCount + 1
		}
	}
	return c
}

func waiting(reason, message string) v1.ContainerState {
	return v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: reason, Message: message}}
}

// failure is why a container could not start.
type failure struct {
	reason string
	err    error
}

func (f *failure) Error() string { return f.err.Error() }

// run keeps the container as its restart policy wants until life ends, and then ends it gently.
func (c *container) run(life context.Context) {
	defer c.log.close()
	pause := time.Duration(0)
	for life.Err() == nil {
		live, err := c.launch()
		if err != nil {
			c.setWaiting(err)
			sleep(life, retryPause)
			continue
		}
		began := time.Now()
		c.attend(life, live)
		if life.Err() != nil || !c.restartsAfter(live.process) {
			break
		}
		if time.Since(began) > steadyAfter {
			pause = 0
		}
		if pause > 0 {
			c.setCrashed(pause)
		}
		sleep(life, pause)
		pause = min(max(2*pause, restartPauseMax/16), restartPauseMax)
		c.worker.locked(func() { c.restarts++ })
	}
	c.worker.locked(func() { c.finished = true })
	c.worker.report()
}

func sleep(ctx context.Context, pause time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
}

func (c *container) restartsAfter(p *process) bool {
	switch c.policy {
	case v1.RestartPolicyNever:
		return false
	case v1.RestartPolicyOnFailure:
		return p.exitCode() != 0
	default:
		return true
	}
}

// live is one run of a container.
type live struct {
	process *process
	rights  rights
	root    *rootfs
	env     *environment
}

func (c *container) launch() (*live, error) {
	w := c.worker
	pod := w.current()
	binary, err := w.agent.binaryOf(c.spec.Image)
	if err != nil {
		return nil, &failure{reasonImage, err}
	}
	r, err := rightsOf(pod, c.spec)
	if err != nil {
		return nil, &failure{reasonConfig, err}
	}
	env, err := w.agent.environmentOf(pod, c.spec)
	if err != nil {
		return nil, &failure{reasonConfig, err}
	}
	root, err := w.rootOf(pod, c.spec, binary, r, env)
	if err != nil {
		return nil, &failure{reasonCreate, err}
	}
	what := command{argv: argvOf(c.spec, root, env), env: env.list(), dir: root.workDir}
	process, err := spawn(what, r, root, c.log, func() error { return w.enter(root, r) })
	if err != nil {
		return nil, &failure{reasonCreate, err}
	}
	w.locked(func() {
		c.process = process
		c.image = binary
		c.state = v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: now()}}
	})
	w.writeWhere(process.pid)
	w.report()
	return &live{process: process, rights: r, root: root, env: env}, nil
}

func argvOf(spec *v1.Container, root *rootfs, env *environment) []string {
	var argv []string
	for _, word := range spec.Command {
		argv = append(argv, env.expand(word))
	}
	if len(argv) == 0 {
		argv = []string{root.entrypoint()}
	}
	for _, word := range spec.Args {
		argv = append(argv, env.expand(word))
	}
	return argv
}

// binaryOf maps an image to the local binary it stands for.
func (a *Agent) binaryOf(image string) (string, error) {
	images, err := a.folder.ReadImages()
	if err != nil {
		return "", err
	}
	path, found := images.Binary(image)
	if !found {
		return "", fmt.Errorf("no local binary is known for image %s: run `cluster load-images --name %s %s=PATH`",
			image, a.folder.Name, image)
	}
	if err := state.CheckBinary(path); err != nil {
		return "", fmt.Errorf("the binary of image %s: %w", image, err)
	}
	return path, nil
}

// attend watches over one run: it probes it, and ends it when life ends or the liveness probe fails.
func (c *container) attend(life context.Context, run *live) {
	probing, stopProbing := context.WithCancel(context.Background())
	defer stopProbing()
	sick := make(chan string, 1)
	go c.probe(probing, run, func(why string) {
		select {
		case sick <- why:
		default:
		}
	})
	select {
	case <-run.process.done:
	case <-life.Done():
		c.end(run, c.worker.deadline)
	case why := <-sick:
		log.Printf("container %s of pod %s/%s is not alive: %s", c.spec.Name, c.worker.namespace, c.worker.name, why)
		deadline := time.Now().Add(c.worker.graceOfRestart())
		c.end(run, func() time.Time { return deadline })
	}
	stopProbing()
	c.setEnded(run)
}

// end runs the preStop hook, asks the process to end and kills it at the deadline, which may come nearer meanwhile.
func (c *container) end(run *live, deadline func() time.Time) {
	if hook := c.spec.Lifecycle; hook != nil && hook.PreStop != nil {
		stop := make(chan struct{})
		ran := make(chan struct{})
		go func() {
			if err := c.hook(run, hook.PreStop, stop); err != nil {
				log.Printf("the preStop hook of container %s of pod %s/%s: %v", c.spec.Name, c.worker.namespace, c.worker.name, err)
			}
			close(ran)
		}()
		await(run.process.done, ran, c.worker.forced, deadline)
		close(stop)
	}
	run.process.signal(unix.SIGTERM)
	if !await(run.process.done, nil, c.worker.forced, deadline) {
		run.process.signal(unix.SIGKILL)
	}
	<-run.process.done
}

// await waits for any of the channels and tells whether one of the first two was before force and the deadline.
func await(done, other, force <-chan struct{}, deadline func() time.Time) bool {
	const look = 100 * time.Millisecond
	for {
		left := time.Until(deadline())
		if left <= 0 {
			return false
		}
		select {
		case <-done:
			return true
		case <-other:
			return true
		case <-force:
			return false
		case <-time.After(min(left, look)):
		}
	}
}

func (c *container) hook(run *live, handler *v1.LifecycleHandler, stop <-chan struct{}) error {
	switch {
	case handler.Sleep != nil:
		select {
		case <-stop:
		case <-time.After(time.Duration(handler.Sleep.Seconds) * time.Second):
		}
		return nil
	case handler.Exec != nil:
		return run.process.runBeside(handler.Exec.Command, run.env.list(), run.rights, run.root.dir, stop)
	case handler.HTTPGet != nil:
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			<-stop
			cancel()
		}()
		return c.httpGet(ctx, handler.HTTPGet)
	default:
		return errors.New("it is of a kind this cluster does not offer (sleep, exec and httpGet are)")
	}
}

func (c *container) setWaiting(err error) {
	reason := reasonCreate
	var known *failure
	if errors.As(err, &known) {
		reason = known.reason
	}
	c.worker.locked(func() { c.state = waiting(reason, err.Error()) })
	c.worker.report()
}

func (c *container) setCrashed(pause time.Duration) {
	c.worker.locked(func() {
		c.state = waiting(reasonCrash, fmt.Sprintf("it ended and starts again in %s", pause))
	})
	c.worker.report()
}

func (c *container) setEnded(run *live) {
	c.worker.locked(func() {
		ended := &v1.ContainerStateTerminated{
			ExitCode:    run.process.exitCode(),
			Reason:      reasonCompleted,
			FinishedAt:  now(),
			ContainerID: c.id(),
		}
		if ended.ExitCode != 0 {
			ended.Reason = reasonError
			ended.Message = c.lastWords()
		}
		if c.state.Running != nil {
			ended.StartedAt = c.state.Running.StartedAt
		}
		c.state = v1.ContainerState{Terminated: ended}
		c.last = c.state
		c.ready = false
		c.process = nil
	})
	c.worker.report()
}

// lastWords are the end of the log of a container that failed, without their times.
func (c *container) lastWords() string {
	text, err := state.Tail(c.log.path, 3)
	if err != nil {
		return ""
	}
	lines := strings.Split(text, "\n")
	for index, line := range lines {
		_, lines[index], _ = strings.Cut(line, " ")
	}
	return strings.Join(lines, "\n")
}

// id names one run of the container; empty before the first.
func (c *container) id() string {
	if c.image == "" {
		return ""
	}
	return fmt.Sprintf("ringway://%s-%s-%d", c.worker.uid, c.spec.Name, c.restarts)
}
