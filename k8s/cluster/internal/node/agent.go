// Package node is the agent of the cluster's only node. It binds pods to the node and runs their containers as
// processes with a network namespace a pod and a root folder a container. It pulls nothing: an image is a local binary
// that the cluster's image mapping names. What it writes to the API server is the node and its pods' status, no more.
package node

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"os"
	"sync"
	"time"

	"k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"ringway.dev/cluster/internal/nodenet"
	"ringway.dev/cluster/internal/state"
)

// bindRetry is the pause after a binding that the API server refused.
const bindRetry = 250 * time.Millisecond

// Agent runs the pods of one node.
type Agent struct {
	folder     state.Folder
	client     kubernetes.Interface
	node       *v1.Node
	pods       listers.PodLister
	secrets    listers.SecretLister
	configMaps listers.ConfigMapLister
	addresses  *nodenet.Addresses

	mutex   sync.Mutex
	workers map[types.UID]*worker
	binding map[types.UID]bool
	cables  int
}

// New makes an agent that watches through the factory, which the caller starts after it.
func New(folder state.Folder, client kubernetes.Interface, factory informers.SharedInformerFactory) (*Agent, error) {
	// Pods of an agent before this one ended with it; so did their folders' use.
	if err := os.RemoveAll(folder.Pods()); err != nil {
		return nil, fmt.Errorf("the pods' folder: %w", err)
	}
	if err := os.Mkdir(folder.Pods(), 0o711); err != nil {
		return nil, fmt.Errorf("the pods' folder: %w", err)
	}
	agent := &Agent{
		folder:     folder,
		client:     client,
		pods:       factory.Core().V1().Pods().Lister(),
		secrets:    factory.Core().V1().Secrets().Lister(),
		configMaps: factory.Core().V1().ConfigMaps().Lister(),
		addresses:  nodenet.NewAddresses(netip.MustParsePrefix(state.PodRange)),
		workers:    map[types.UID]*worker{},
		binding:    map[types.UID]bool{},
	}
	return agent, nil
}

// Watch starts to run pods. The node must be registered and the factory's caches of secrets and config maps filled.
func (a *Agent) Watch(ctx context.Context, factory informers.SharedInformerFactory) error {
	_, err := factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { a.saw(ctx, object) },
		UpdateFunc: func(_, object any) { a.saw(ctx, object) },
		DeleteFunc: a.lost,
	})
	if err != nil {
		return fmt.Errorf("watching pods: %w", err)
	}
	return nil
}

func (a *Agent) saw(ctx context.Context, object any) {
	pod, ok := object.(*v1.Pod)
	if !ok {
		return
	}
	if pod.Spec.NodeName == "" {
		a.bindOnce(ctx, pod)
		return
	}
	if pod.Spec.NodeName != state.NodeName {
		return
	}
	a.mutex.Lock()
	worker, known := a.workers[pod.UID]
	if !known {
		worker = newWorker(a, pod)
		a.workers[pod.UID] = worker
		go worker.run(ctx)
	}
	a.mutex.Unlock()
	if known {
		worker.saw(pod)
	}
}

func (a *Agent) lost(object any) {
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = tombstone.Obj
	}
	pod, ok := object.(*v1.Pod)
	if !ok {
		return
	}
	a.mutex.Lock()
	worker, known := a.workers[pod.UID]
	a.mutex.Unlock()
	if known {
		worker.lost()
	}
}

// forget is called by a worker at its end. A pod whose containers are all done keeps its worker until it is deleted.
func (a *Agent) forget(uid types.UID) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	delete(a.workers, uid)
}

// bindOnce binds a pod in the background, unless that is under way.
func (a *Agent) bindOnce(ctx context.Context, pod *v1.Pod) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.binding[pod.UID] || pod.DeletionTimestamp != nil || len(pod.Spec.SchedulingGates) > 0 {
		return
	}
	a.binding[pod.UID] = true
	go func() {
		a.bind(ctx, pod)
		a.mutex.Lock()
		defer a.mutex.Unlock()
		delete(a.binding, pod.UID)
	}()
}

func (a *Agent) bind(ctx context.Context, pod *v1.Pod) {
	if fits, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(a.node); err != nil || !fits {
		a.refuse(ctx, pod)
		return
	}
	binding := &v1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     v1.ObjectReference{Kind: "Node", Name: state.NodeName},
	}
	for ctx.Err() == nil {
		err := a.client.CoreV1().Pods(pod.Namespace).Bind(ctx, binding, metav1.CreateOptions{})
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return
		}
		log.Printf("binding pod %s/%s: %v", pod.Namespace, pod.Name, err)
		time.Sleep(bindRetry)
	}
}

// refuse tells in the pod's status that the node is not one that it asks for.
func (a *Agent) refuse(ctx context.Context, pod *v1.Pod) {
	if _, condition := findCondition(pod.Status.Conditions, v1.PodScheduled); condition != nil {
		return
	}
	pod = pod.DeepCopy()
	pod.Status.Conditions = append(pod.Status.Conditions, v1.PodCondition{
		Type:               v1.PodScheduled,
		Status:             v1.ConditionFalse,
		Reason:             v1.PodReasonUnschedulable,
		Message:            "the only node, " + state.NodeName + ", does not match the pod's node selector or affinity",
		LastTransitionTime: now(),
	})
	if _, err := a.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{}); err != nil {
		log.Printf("refusing pod %s/%s: %v", pod.Namespace, pod.Name, err)
	}
}

// cableName names the node's end of the next pod's cable.
func (a *Agent) cableName() string {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.cables++
	return fmt.Sprintf("pod%d", a.cables)
}

// find gives the worker of a pod by name.
func (a *Agent) find(namespace, name string) (*worker, bool) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	for _, worker := range a.workers {
		if worker.namespace == namespace && worker.name == name {
			return worker, true
		}
	}
	return nil, false
}
