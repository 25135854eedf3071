package node

import (
	"context"
	"encoding/json"
	"log"
	"slices"
	"strconv"

	"k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"ringway.dev/cluster/internal/state"
)

// report asks for the pod's status to be written soon.
func (w *worker) report() {
	select {
	case w.reports <- struct{}{}:
	default:
	}
}

// reportAll writes the pod's status whenever it changed, until ctx ends.
func (w *worker) reportAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.reports:
			w.sendStatus(ctx)
		}
	}
}

// sendStatus writes the pod's status, unless the API server has it already.
func (w *worker) sendStatus(ctx context.Context) {
	for !w.isGone() {
		status, known := w.status()
		if equality.Semantic.DeepEqual(status, known) {
			return
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": w.uid}, "status": status})
		if err != nil {
			log.Printf("the status of pod %s/%s: %v", w.namespace, w.name, err)
			return
		}
		pod, err := w.agent.client.CoreV1().Pods(w.namespace).Patch(ctx, w.name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
		if err == nil {
			w.locked(func() { w.take(pod) })
			return
		}
		if ctx.Err() != nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsInvalid(err) {
			if apierrors.IsInvalid(err) {
				log.Printf("the status of pod %s/%s: %v", w.namespace, w.name, err)
			}
			return
		}
		sleep(ctx, apiPause)
	}
}

// take keeps a version of the pod, unless there is a newer one already. It needs the mutex.
func (w *worker) take(pod *v1.Pod) {
	if version(pod) < version(w.pod) {
		return
	}
	w.pod = pod
	w.heed(pod)
}

// version orders what the API server tells about one pod.
func version(pod *v1.Pod) uint64 {
	number, err := strconv.ParseUint(pod.ResourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return number
}

// now is the time as precisely as the API server keeps it.
func now() metav1.Time { return metav1.Now().Rfc3339Copy() }

// status gives what the pod's status should be and what the API server had at last.
func (w *worker) status() (wanted, known v1.PodStatus) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	known = w.pod.Status
	wanted = *known.DeepCopy()
	wanted.StartTime = known.StartTime
	if wanted.StartTime == nil {
		wanted.StartTime = &w.started
	}
	wanted.HostIP = state.NodeAddress
	wanted.HostIPs = []v1.HostIP{{IP: state.NodeAddress}}
	if w.address != "" {
		wanted.PodIP = w.address
		wanted.PodIPs = []v1.PodIP{{IP: w.address}}
	}
	wanted.InitContainerStatuses = statusesOf(w.inits, "")
	wanted.ContainerStatuses = statusesOf(w.containers, w.trouble)
	wanted.Phase = w.phase()
	w.setConditions(&wanted)
	return wanted, known
}

func statusesOf(containers []*container, trouble string) []v1.ContainerStatus {
	statuses := make([]v1.ContainerStatus, 0, len(containers))
	for _, c := range containers {
		running := c.state.Running != nil
		status := v1.ContainerStatus{
			Name:                 c.spec.Name,
			State:                c.state,
			LastTerminationState: v1.ContainerState{},
			Ready:                c.ready,
			RestartCount:         c.restarts,
			Image:                c.spec.Image,
			ImageID:              c.image,
			ContainerID:          c.id(),
			Started:              &running,
		}
		if c.state.Terminated == nil {
			status.LastTerminationState = c.last
		}
		if trouble != "" && c.state.Waiting != nil {
			status.State = waiting(c.state.Waiting.Reason, trouble)
		}
		statuses = append(statuses, status)
	}
	return statuses
}

// phase needs the mutex.
func (w *worker) phase() v1.PodPhase {
	if slices.ContainsFunc(w.inits, func(c *container) bool {
		return c.finished && (c.state.Terminated == nil || c.state.Terminated.ExitCode != 0)
	}) {
		return v1.PodFailed
	}
	if !w.initialized {
		return v1.PodPending
	}
	started, finished, failed := false, true, false
	for _, c := range w.containers {
		started = started || c.image != ""
		finished = finished && c.finished
		failed = failed || c.state.Terminated == nil || c.state.Terminated.ExitCode != 0
	}
	switch {
	case finished && failed:
		return v1.PodFailed
	case finished:
		return v1.PodSucceeded
	case started:
		return v1.PodRunning
	default:
		return v1.PodPending
	}
}

// setConditions needs the mutex.
func (w *worker) setConditions(status *v1.PodStatus) {
	ready := len(w.containers) > 0 && !slices.ContainsFunc(w.containers, func(c *container) bool { return !c.ready })
	reason := "ContainersNotReady"
	if status.Phase == v1.PodSucceeded {
		reason = "PodCompleted"
	}
	setCondition(status, v1.PodScheduled, true, "")
	setCondition(status, v1.PodReadyToStartContainers, w.address != "", "")
	setCondition(status, v1.PodInitialized, w.initialized, "ContainersNotInitialized")
	setCondition(status, v1.ContainersReady, ready, reason)
	for _, gate := range w.pod.Spec.ReadinessGates {
		_, condition := findCondition(status.Conditions, gate.ConditionType)
		if ready && (condition == nil || condition.Status != v1.ConditionTrue) {
			ready, reason = false, "ReadinessGatesNotReady"
		}
	}
	setCondition(status, v1.PodReady, ready, reason)
}

func setCondition(status *v1.PodStatus, kind v1.PodConditionType, holds bool, reason string) {
	wanted := v1.ConditionFalse
	if holds {
		wanted, reason = v1.ConditionTrue, ""
	}
	index, current := findCondition(status.Conditions, kind)
	if current != nil && current.Status == wanted && current.Reason == reason {
		return
	}
	condition := v1.PodCondition{Type: kind, Status: wanted, Reason: reason, LastTransitionTime: now()}
	if current == nil {
		status.Conditions = append(status.Conditions, condition)
		return
	}
	status.Conditions[index] = condition
}

func findCondition(conditions []v1.PodCondition, kind v1.PodConditionType) (int, *v1.PodCondition) {
	for index := range conditions {
		if conditions[index].Type == kind {
			return index, &conditions[index]
		}
	}
	return -1, nil
}
