package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	v1 "sigs.k8s.io/gateway-api/apis/v1"
)

// gatewayPods selects the pods of the chart.
const gatewayPods = "app.kubernetes.io/name=ringway"

// logsMax bounds the storing of logs: the cluster may be what failed.
const logsMax = 30 * time.Second

// pollEvery is how often the cluster is asked while waiting.
const pollEvery = 200 * time.Millisecond

// cluster is the one that KUBECONFIG names.
type cluster struct {
	core    *kubernetes.Clientset
	objects client.Client
}

func connect() (*cluster, error) {
	settings, err := config.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("reading KUBECONFIG: %w", err)
	}
	core, err := kubernetes.NewForConfig(settings)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	objects, err := client.New(settings, client.Options{})
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	if err := v1.Install(objects.Scheme()); err != nil {
		return nil, fmt.Errorf("registering the Gateway API: %w", err)
	}
	return &cluster{core: core, objects: objects}, nil
}

func wait(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("wait", flag.ContinueOnError)
	class := flags.String("class", "ringway", "the GatewayClass")
	namespace := flags.String("namespace", "", "where the gateway's pods are; empty: only the class is waited for")
	timeout := flags.Duration("timeout", 2*time.Minute, "how long to wait")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cluster, err := connect()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	for {
		missing := cluster.podsReady(ctx, *namespace)
		if missing == nil {
			missing = cluster.classAccepted(ctx, *class)
		}
		if missing == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %v: %w", *timeout, missing)
		case <-time.After(pollEvery):
		}
	}
}

// classAccepted says what is missing until the class is accepted, if anything.
func (c *cluster) classAccepted(ctx context.Context, name string) error {
	var class v1.GatewayClass
	if err := c.objects.Get(ctx, client.ObjectKey{Name: name}, &class); err != nil {
		return fmt.Errorf("GatewayClass %s: %w", name, err)
	}
	condition := meta.FindStatusCondition(class.Status.Conditions, string(v1.GatewayClassConditionStatusAccepted))
	switch {
	case condition == nil:
		return fmt.Errorf("GatewayClass %s has no condition Accepted", name)
	case condition.Status != metav1.ConditionTrue:
		return fmt.Errorf("GatewayClass %s: Accepted is %s, %s: %s", name, condition.Status, condition.Reason, condition.Message)
	case condition.ObservedGeneration != class.Generation:
		return fmt.Errorf("GatewayClass %s: Accepted is of generation %d, not %d", name, condition.ObservedGeneration, class.Generation)
	}
	return nil
}

// podsReady says what is missing until there are pods of the gateway and all of them are ready.
func (c *cluster) podsReady(ctx context.Context, namespace string) error {
	if namespace == "" {
		return nil
	}
	pods, err := c.pods(ctx, namespace)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return fmt.Errorf("no pod %s in namespace %s", gatewayPods, namespace)
	}
	for _, pod := range pods {
		if !ready(&pod) {
			return fmt.Errorf("pod %s is not ready: %s", pod.Name, describe(&pod))
		}
	}
	return nil
}

func (c *cluster) pods(ctx context.Context, namespace string) ([]corev1.Pod, error) {
	pods, err := c.core.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: gatewayPods})
	if err != nil {
		return nil, fmt.Errorf("listing the gateway's pods: %w", err)
	}
	return pods.Items, nil
}

func ready(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// describe is the state of a pod and of its containers, in a line.
func describe(pod *corev1.Pod) string {
	parts := []string{string(pod.Status.Phase)}
	for _, container := range pod.Status.ContainerStatuses {
		if waiting := container.State.Waiting; waiting != nil {
			parts = append(parts, container.Name+": "+waiting.Reason+" "+waiting.Message)
		}
		if ended := container.State.Terminated; ended != nil {
			parts = append(parts, fmt.Sprintf("%s: ended with %d %s", container.Name, ended.ExitCode, ended.Message))
		}
		parts = append(parts, fmt.Sprintf("%d restarts", container.RestartCount))
	}
	return strings.Join(parts, ", ")
}

func logs(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("logs", flag.ContinueOnError)
	namespace := flags.String("namespace", "", "where the gateway's pods are")
	output := flags.String("output", "", "folder for a file for each container and run of it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cluster, err := connect()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, logsMax)
	defer cancel()
	pods, err := cluster.pods(ctx, *namespace)
	if err != nil {
		return err
	}
	var all error
	for _, pod := range pods {
		for _, container := range pod.Status.ContainerStatuses {
			options := corev1.PodLogOptions{Container: container.Name}
			path := filepath.Join(*output, pod.Name+"."+container.Name)
			all = errors.Join(all, cluster.store(ctx, &pod, options, path+".log"))
			if container.RestartCount > 0 {
				options.Previous = true
				// Not every node keeps it apart, or at all.
				_ = cluster.store(ctx, &pod, options, path+".previous.log")
			}
		}
	}
	return all
}

// store writes the log of one run of a container to path.
func (c *cluster) store(ctx context.Context, pod *corev1.Pod, options corev1.PodLogOptions, path string) error {
	stream, err := c.core.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &options).Stream(ctx)
	if err != nil {
		return fmt.Errorf("log of pod %s: %w", pod.Name, err)
	}
	defer stream.Close()
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("storing a log: %w", err)
	}
	if _, err := io.Copy(file, stream); err != nil {
		file.Close()
		return fmt.Errorf("log of pod %s: %w", pod.Name, err)
	}
	return file.Close()
}
