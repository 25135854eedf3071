package tests

import (
	"context"
	"fmt"
	"testing"

	apps "k8s.io/api/apps/v1"
	"k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// namespace makes a namespace for one test that is deleted after it, and waits for its default ServiceAccount.
func (c *cluster) namespace(t *testing.T) string {
	t.Helper()
	ctx := context.Background()
	made, err := c.client.CoreV1().Namespaces().Create(ctx, &v1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.client.CoreV1().Namespaces().Delete(ctx, made.Name, metav1.DeleteOptions{}) })
	eventually(t, "the default ServiceAccount", func() error {
		_, err := c.client.CoreV1().ServiceAccounts(made.Name).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	return made.Name
}

// echoDeployment creates a Deployment of the echo server.
func (c *cluster) echoDeployment(t *testing.T, namespace string, replicas int32) {
	t.Helper()
	labels := map[string]string{"app": "echo"}
	field := func(path string) *v1.EnvVarSource {
		return &v1.EnvVarSource{FieldRef: &v1.ObjectFieldSelector{FieldPath: path}}
	}
	deployment := &apps.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "echo"},
		Spec: apps.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: v1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: v1.PodSpec{Containers: []v1.Container{{
					Name:  "echo",
					Image: echoImage,
					Env: []v1.EnvVar{
						{Name: "POD_NAME", ValueFrom: field("metadata.name")},
						{Name: "NAMESPACE", ValueFrom: field("metadata.namespace")},
					},
				}}},
			},
		},
	}
	if _, err := c.client.AppsV1().Deployments(namespace).Create(context.Background(), deployment, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// echoService creates a Service in front of the Deployment.
func (c *cluster) echoService(t *testing.T, namespace, name string, kind v1.ServiceType, change func(*v1.Service)) *v1.Service {
	t.Helper()
	service := &v1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1.ServiceSpec{
			Type:     kind,
			Selector: map[string]string{"app": "echo"},
			Ports:    []v1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(3000)}},
		},
	}
	if change != nil {
		change(service)
	}
	made, err := c.client.CoreV1().Services(namespace).Create(context.Background(), service, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// pod creates a pod of one container that runs a shell script.
func (c *cluster) pod(t *testing.T, namespace, name, script string, change func(*v1.Pod)) {
	t.Helper()
	now := int64(1)
	pod := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: v1.PodSpec{
			TerminationGracePeriodSeconds: &now,
			Containers:                    []v1.Container{{Name: "main", Image: shellImage, Args: []string{"-c", script}}},
		},
	}
	if change != nil {
		change(pod)
	}
	if _, err := c.client.CoreV1().Pods(namespace).Create(context.Background(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) getPod(namespace, name string) (*v1.Pod, error) {
	return c.client.CoreV1().Pods(namespace).Get(context.Background(), name, metav1.GetOptions{})
}

// readyPods waits until so many pods of an app are ready and gives them.
func (c *cluster) readyPods(t *testing.T, namespace, app string, count int) []v1.Pod {
	t.Helper()
	var ready []v1.Pod
	eventually(t, fmt.Sprintf("%d ready pods of %s", count, app), func() error {
		pods, err := c.client.CoreV1().Pods(namespace).List(context.Background(), metav1.ListOptions{LabelSelector: "app=" + app})
		if err != nil {
			return err
		}
		ready = ready[:0]
		for _, pod := range pods.Items {
			if condition(&pod, v1.PodReady) == v1.ConditionTrue {
				ready = append(ready, pod)
			}
		}
		if len(ready) != count {
			return fmt.Errorf("%d are ready", len(ready))
		}
		return nil
	})
	return ready
}

func condition(pod *v1.Pod, kind v1.PodConditionType) v1.ConditionStatus {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == kind {
			return condition.Status
		}
	}
	return v1.ConditionUnknown
}

// logs reads a pod's log through the API server.
func (c *cluster) logs(namespace, pod string, options *v1.PodLogOptions) (string, error) {
	content, err := c.client.CoreV1().Pods(namespace).GetLogs(pod, options).DoRaw(context.Background())
	return string(content), err
}

// loadBalancer waits for the address of a Service.
func (c *cluster) loadBalancer(t *testing.T, namespace, name string) string {
	t.Helper()
	var address string
	eventually(t, "an address for Service "+name, func() error {
		service, err := c.client.CoreV1().Services(namespace).Get(context.Background(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(service.Status.LoadBalancer.Ingress) != 1 {
			return fmt.Errorf("it has %d addresses", len(service.Status.LoadBalancer.Ingress))
		}
		address = service.Status.LoadBalancer.Ingress[0].IP
		return nil
	})
	return address
}
