package node

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"ringway.dev/cluster/internal/nodenet"
	"ringway.dev/cluster/internal/state"
)

const (
	// volumePause is how often volumes are compared with what they come from.
	volumePause = 500 * time.Millisecond
	// apiPause is the pause after a request that the API server refused.
	apiPause = 250 * time.Millisecond
	// defaultGrace is the grace period of pods that ask for none.
	defaultGrace = 30
	// shortGrace replaces it for pods without a preStop hook: most servers ignore SIGTERM, and nobody waits for them here.
	shortGrace = time.Second
)

// worker runs one pod from its binding to its deletion.
type worker struct {
	agent           *Agent
	uid             types.UID
	namespace, name string
	hostname        string
	dir             string
	volumes         *volumes
	network         *os.File
	reports         chan struct{}
	// forced is closed when the pod must go at once, endLife ends its ordinary life.
	forced  chan struct{}
	life    context.Context
	endLife context.CancelFunc

	mutex       sync.Mutex
	pod         *v1.Pod
	inits       []*container
	containers  []*container
	address     string
	trouble     string
	initialized bool
	gone        bool
	ended       bool
	deadlineAt  time.Time
	started     metav1.Time
}

func newWorker(agent *Agent, pod *v1.Pod) *worker {
	w := &worker{
		agent:     agent,
		uid:       pod.UID,
		namespace: pod.Namespace,
		name:      pod.Name,
		hostname:  hostname(pod),
		dir:       filepath.Join(agent.folder.Pods(), string(pod.UID)),
		pod:       pod,
		reports:   make(chan struct{}, 1),
		forced:    make(chan struct{}),
		started:   now(),
	}
	w.life, w.endLife = context.WithCancel(context.Background())
	w.volumes = newVolumes(agent, filepath.Join(w.dir, "volumes"))
	for index := range pod.Spec.InitContainers {
		c := newContainer(w, pod, &pod.Spec.InitContainers[index], pod.Status.InitContainerStatuses)
		if c.policy == v1.RestartPolicyAlways {
			c.policy = v1.RestartPolicyOnFailure
		}
		w.inits = append(w.inits, c)
	}
	for index := range pod.Spec.Containers {
		w.containers = append(w.containers, newContainer(w, pod, &pod.Spec.Containers[index], pod.Status.ContainerStatuses))
	}
	if len(w.inits) > 0 {
		for _, c := range w.containers {
			c.state = waiting(reasonPodInit, "")
		}
	}
	w.heed(pod)
	return w
}

func (w *worker) locked(change func()) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	change()
}

// saw takes a newer version of the pod.
func (w *worker) saw(pod *v1.Pod) {
	w.locked(func() { w.take(pod) })
	w.report()
}

// heed notes a deletion. It needs the mutex, or that nobody else has the worker yet.
func (w *worker) heed(pod *v1.Pod) {
	if pod.DeletionTimestamp == nil {
		return
	}
	grace := int64(defaultGrace)
	if pod.DeletionGracePeriodSeconds != nil {
		grace = *pod.DeletionGracePeriodSeconds
	}
	deadline := time.Now().Add(graceOf(pod, grace))
	if w.deadlineAt.IsZero() || deadline.Before(w.deadlineAt) {
		w.deadlineAt = deadline
	}
	w.endLife()
}

// graceOf is how long a pod's processes may take to end.
func graceOf(pod *v1.Pod, seconds int64) time.Duration {
	hooked := slices.ContainsFunc(pod.Spec.Containers, func(container v1.Container) bool {
		return container.Lifecycle != nil && container.Lifecycle.PreStop != nil
	})
	if seconds == defaultGrace && !hooked {
		return shortGrace
	}
	return time.Duration(seconds) * time.Second
}

func (w *worker) graceOfRestart() time.Duration {
	pod := w.current()
	grace := int64(defaultGrace)
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		grace = *pod.Spec.TerminationGracePeriodSeconds
	}
	return graceOf(pod, grace)
}

func (w *worker) deadline() time.Time {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.deadlineAt
}

// lost says that the API server has the pod no more.
func (w *worker) lost() {
	w.locked(func() {
		if !w.gone {
			w.gone = true
			close(w.forced)
		}
		w.endLife()
	})
}

// current is the newest version of the pod, with its addresses filled in as soon as they are known.
func (w *worker) current() *v1.Pod {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.address == "" || w.pod.Status.PodIP == w.address {
		return w.pod
	}
	pod := w.pod.DeepCopy()
	pod.Status.PodIP = w.address
	return pod
}

func (w *worker) run(ctx context.Context) {
	defer w.agent.forget(w.uid)
	if phase := w.current().Status.Phase; phase == v1.PodSucceeded || phase == v1.PodFailed {
		// It was done before this agent started; only its deletion is left.
		<-w.life.Done()
		w.remove(ctx)
		return
	}
	reporting, stopReporting := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		w.reportAll(reporting)
		close(stopped)
	}()
	if err := w.prepare(ctx); err != nil {
		if w.life.Err() == nil {
			log.Printf("pod %s/%s: %v", w.namespace, w.name, err)
		}
	} else {
		w.runContainers(ctx)
	}
	w.locked(func() { w.ended = true })
	w.report()
	<-w.life.Done()
	stopReporting()
	<-stopped
	w.sendStatus(ctx)
	w.cleanUp()
	w.remove(ctx)
}

// prepare brings volumes and network up; it fails only when the pod's life ends meanwhile.
func (w *worker) prepare(ctx context.Context) error {
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		return err
	}
	for w.life.Err() == nil {
		err := w.setUp(ctx)
		if err == nil {
			w.locked(func() { w.trouble = "" })
			return nil
		}
		w.locked(func() { w.trouble = err.Error() })
		w.report()
		sleep(w.life, volumePause/5)
	}
	return w.life.Err()
}

func (w *worker) setUp(ctx context.Context) error {
	if err := w.setUpNetwork(); err != nil {
		return err
	}
	return w.volumes.sync(ctx, w.current())
}

func (w *worker) setUpNetwork() error {
	if w.address != "" {
		return nil
	}
	if w.current().Spec.HostNetwork {
		w.locked(func() { w.address = state.NodeAddress })
		return nil
	}
	address, err := w.agent.addresses.Take()
	if err != nil {
		return err
	}
	network, err := nodenet.NewPod(address, w.agent.cableName())
	if err != nil {
		w.agent.addresses.Free(address)
		return err
	}
	if err := applySysctls(network, w.current()); err != nil {
		network.Close()
		w.agent.addresses.Free(address)
		return err
	}
	w.network = network
	w.locked(func() { w.address = address.String() })
	return nil
}

// runContainers runs the init containers one after the other and then all others until the pod's life ends.
func (w *worker) runContainers(ctx context.Context) {
	for _, c := range w.inits {
		c.run(w.life)
		if w.life.Err() != nil || !c.succeeded() {
			return
		}
	}
	w.locked(func() {
		w.initialized = true
		for _, c := range w.containers {
			c.state = waiting(reasonCreating, "")
		}
	})
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	go w.watchVolumes(watching)
	var running sync.WaitGroup
	for _, c := range w.containers {
		running.Go(func() { c.run(w.life) })
	}
	running.Wait()
}

func (c *container) succeeded() bool {
	c.worker.mutex.Lock()
	defer c.worker.mutex.Unlock()
	return c.state.Terminated != nil && c.state.Terminated.ExitCode == 0
}

func (w *worker) watchVolumes(ctx context.Context) {
	for last := ""; ; sleep(ctx, volumePause) {
		if ctx.Err() != nil {
			return
		}
		problem := ""
		if err := w.volumes.sync(ctx, w.current()); err != nil {
			// What is missing now was there when the pod started, which goes on with what it has.
			problem = err.Error()
		}
		if problem != "" && problem != last {
			log.Printf("pod %s/%s: %s", w.namespace, w.name, problem)
		}
		last = problem
	}
}

// cleanUp gives back what the pod had of the node.
func (w *worker) cleanUp() {
	if w.network != nil {
		w.network.Close()
		if address, err := netip.ParseAddr(w.address); err == nil {
			w.agent.addresses.Free(address)
		}
	}
	if err := os.RemoveAll(w.dir); err != nil {
		log.Printf("the folder of pod %s/%s: %v", w.namespace, w.name, err)
	}
}

// remove tells the API server that the pod is over, so that its deletion ends.
func (w *worker) remove(ctx context.Context) {
	now := int64(0)
	options := metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &w.uid}}
	for ctx.Err() == nil && !w.isGone() {
		err := w.agent.client.CoreV1().Pods(w.namespace).Delete(ctx, w.name, options)
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return
		}
		log.Printf("removing pod %s/%s: %v", w.namespace, w.name, err)
		sleep(ctx, apiPause)
	}
}

func (w *worker) isGone() bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.gone
}

// over tells whether nothing of the pod runs any more.
func (w *worker) over() bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.ended || w.gone
}

// logPath gives the log of one of the pod's containers.
func (w *worker) logPath(name string) (string, bool) {
	for _, c := range slices.Concat(w.inits, w.containers) {
		if c.spec.Name == name {
			return c.log.path, true
		}
	}
	return "", false
}

// wherePath is a file that tells commands on the machine where the pod is.
func (w *worker) wherePath() string { return filepath.Join(w.dir, "where") }

// writeWhere notes a process of the pod's network namespace.
func (w *worker) writeWhere(pid int) {
	text := fmt.Sprintf("%s/%s %d\n", w.namespace, w.name, pid)
	if err := os.WriteFile(w.wherePath(), []byte(text), 0o600); err != nil {
		log.Printf("pod %s/%s: %v", w.namespace, w.name, err)
	}
}
