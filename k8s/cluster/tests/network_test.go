package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringway.dev/cluster/internal/state"
)

func TestPodsAnswerOnEveryKindOfAddressFromNodeAndPods(t *testing.T) {
	namespace := shared.namespace(t)
	shared.echoDeployment(t, namespace, 2)
	service := shared.echoService(t, namespace, "echo", v1.ServiceTypeLoadBalancer, nil)
	pods := shared.readyPods(t, namespace, "echo", 2)
	balanced := shared.loadBalancer(t, namespace, "echo")
	addresses := map[string]string{
		"pod":           pods[0].Status.PodIP + ":3000",
		"cluster":       service.Spec.ClusterIP,
		"node port":     fmt.Sprintf("%s:%d", state.NodeAddress, service.Spec.Ports[0].NodePort),
		"load balancer": balanced,
	}
	for _, from := range []string{"", namespace + "/" + pods[0].Name, namespace + "/" + pods[1].Name} {
		for kind, address := range addresses {
			eventually(t, fmt.Sprintf("the %s address from %q", kind, from), func() error {
				body, err := shared.get(from, address+"/path")
				if err != nil {
					return err
				}
				var answer struct{ Path, Namespace, Pod string }
				if err := json.Unmarshal([]byte(body), &answer); err != nil {
					return err
				}
				if answer.Path != "/path" || answer.Namespace != namespace || !strings.HasPrefix(answer.Pod, "echo-") {
					return fmt.Errorf("it answered %s", body)
				}
				return nil
			})
		}
	}
}

func TestAPodSeesTheAddressOfThePodThatCallsItsService(t *testing.T) {
	namespace := shared.namespace(t)
	shared.echoDeployment(t, namespace, 1)
	service := shared.echoService(t, namespace, "echo", v1.ServiceTypeClusterIP, nil)
	server := shared.readyPods(t, namespace, "echo", 1)[0]
	shared.pod(t, namespace, "caller", "sleep 1000", nil)
	caller := shared.readyPods(t, namespace, "caller", 1)[0]
	eventually(t, "an answer of the Service", func() error {
		_, err := shared.get(namespace+"/caller", service.Spec.ClusterIP)
		return err
	})
	eventually(t, "the caller's address in the server's log", func() error {
		log, err := shared.logs(namespace, server.Name, &v1.PodLogOptions{})
		if err == nil && !strings.Contains(log, "("+caller.Status.PodIP+":") {
			err = fmt.Errorf("%s is not in\n%s", caller.Status.PodIP, log)
		}
		return err
	})
}

func TestAnAddressOfThePoolBelongsToTheNode(t *testing.T) {
	// The pod listens in the node's network, on an address that no interface carries.
	namespace := shared.namespace(t)
	shared.pod(t, namespace, "listener", "", func(pod *v1.Pod) {
		pod.Spec.HostNetwork = true
		pod.Spec.Containers[0].Image = echoImage
		pod.Spec.Containers[0].Args = nil
		pod.Spec.Containers[0].Env = []v1.EnvVar{{Name: "HTTP_PORT", Value: "8123"}, {Name: "H2C_PORT", Value: "8124"}}
		pod.Spec.Containers[0].Ports = []v1.ContainerPort{{ContainerPort: 8123}}
	})
	listener := shared.readyPods(t, namespace, "listener", 1)[0]
	if listener.Status.PodIP != state.NodeAddress {
		t.Errorf("a pod of the node's network has the address %s", listener.Status.PodIP)
	}
	if _, err := shared.get("", "10.245.0.77:8123"); err != nil {
		t.Error(err)
	}
}

func TestLoadBalancerAddressesAreDistinctAndGivenBack(t *testing.T) {
	namespace := shared.namespace(t)
	ctx := context.Background()
	pool := netip.MustParsePrefix("10.246.0.0/24")
	shared.echoService(t, namespace, "wanted", v1.ServiceTypeLoadBalancer, func(s *v1.Service) { s.Spec.LoadBalancerIP = "10.246.0.99" })
	if got := shared.loadBalancer(t, namespace, "wanted"); got != "10.246.0.99" {
		t.Errorf("a Service that wants 10.246.0.99 got %s", got)
	}
	shared.echoService(t, namespace, "late", v1.ServiceTypeLoadBalancer, func(s *v1.Service) { s.Spec.LoadBalancerIP = "10.246.0.99" })
	seen := map[string]bool{"10.246.0.99": true}
	for _, name := range []string{"one", "two", "three"} {
		shared.echoService(t, namespace, name, v1.ServiceTypeLoadBalancer, nil)
		address := shared.loadBalancer(t, namespace, name)
		if seen[address] || !pool.Contains(netip.MustParseAddr(address)) {
			t.Errorf("Service %s got %s", name, address)
		}
		seen[address] = true
	}
	late, err := shared.client.CoreV1().Services(namespace).Get(ctx, "late", metav1.GetOptions{})
	if err != nil || len(late.Status.LoadBalancer.Ingress) != 0 {
		t.Errorf("a Service got an address of another one: %v %v", late.Status.LoadBalancer, err)
	}
	if err := shared.client.CoreV1().Services(namespace).Delete(ctx, "wanted", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := shared.loadBalancer(t, namespace, "late"); got != "10.246.0.99" {
		t.Errorf("the freed address went to nobody; the waiting Service got %s", got)
	}
}
