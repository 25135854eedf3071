package tests

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// podOf returns the pod of the only workload.
func podOf(t *testing.T, all []unstructured.Unstructured) corev1.PodSpec {
	t.Helper()
	var pods []corev1.PodSpec
	for _, set := range decode[appsv1.DaemonSet](t, all, "DaemonSet") {
		pods = append(pods, set.Spec.Template.Spec)
	}
	for _, deployment := range decode[appsv1.Deployment](t, all, "Deployment") {
		pods = append(pods, deployment.Spec.Template.Spec)
	}
	if len(pods) != 1 || len(pods[0].Containers) != 1 {
		t.Fatalf("want one workload of one container, got %d", len(pods))
	}
	return pods[0]
}

func TestEveryPodIsGuaranteedAndItsCoresAreWhole(t *testing.T) {
	for name, values := range cases(t) {
		resources := podOf(t, objects(t, "--values", values)).Containers[0].Resources
		for _, resource := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			request, limit := resources.Requests[resource], resources.Limits[resource]
			if request.IsZero() || request.Cmp(limit) != 0 {
				t.Errorf("%s: %s request %v, limit %v", name, resource, request.String(), limit.String())
			}
		}
		if cpu := resources.Requests.Cpu(); cpu.MilliValue()%1000 != 0 {
			t.Errorf("%s: %v is not a number of whole cores", name, cpu)
		}
	}
}

func TestEveryPodIsConfined(t *testing.T) {
	for name, values := range cases(t) {
		pod := podOf(t, objects(t, "--values", values))
		own := pod.Containers[0].SecurityContext
		if pod.SecurityContext.RunAsNonRoot == nil || !*pod.SecurityContext.RunAsNonRoot || *pod.SecurityContext.RunAsUser == 0 {
			t.Errorf("%s: may run as root", name)
		}
		if own.ReadOnlyRootFilesystem == nil || !*own.ReadOnlyRootFilesystem {
			t.Errorf("%s: its root is writable", name)
		}
		if own.AllowPrivilegeEscalation == nil || *own.AllowPrivilegeEscalation {
			t.Errorf("%s: may gain privileges", name)
		}
		drop, add := own.Capabilities.Drop, own.Capabilities.Add
		if !slices.Equal(drop, []corev1.Capability{"ALL"}) || !slices.Equal(add, []corev1.Capability{"NET_BIND_SERVICE"}) {
			t.Errorf("%s: drops %v, adds %v", name, drop, add)
		}
	}
}

func TestTheSeccompProfileIsTheRuntimesUnlessAskedOtherwise(t *testing.T) {
	profile := func(args ...string) *corev1.SeccompProfile {
		return podOf(t, objects(t, args...)).SecurityContext.SeccompProfile
	}
	if got := profile(); got == nil || got.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("default: %v", got)
	}
	got := profile("--set", "seccomp.type=Localhost")
	if got == nil || got.Type != corev1.SeccompProfileTypeLocalhost || *got.LocalhostProfile != "ringway/io-uring.json" {
		t.Errorf("Localhost: %v", got)
	}
	if got := profile("--set", "seccomp.type=Unset"); got != nil {
		t.Errorf("Unset: %v", got)
	}
}

func TestTheGracePeriodIsLongerThanTheDrain(t *testing.T) {
	pod := podOf(t, objects(t, "--set", "drainSeconds=120"))
	drain := argument(t, pod, "--drain-timeout")
	limit, err := time.ParseDuration(drain)
	if err != nil || limit != 2*time.Minute {
		t.Fatalf("--drain-timeout=%s: %v", drain, err)
	}
	if grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second; grace <= limit {
		t.Errorf("grace period %v, drain %v", grace, limit)
	}
}

func TestShardsLeaveACoreToTheControlThreadFromFourCoresOn(t *testing.T) {
	for cpu, shards := range map[string]string{"1": "1", "2": "2", "3": "3", "4": "3", "16": "15"} {
		pod := podOf(t, objects(t, "--set", "cpu="+cpu))
		if got := argument(t, pod, "--shards"); got != shards {
			t.Errorf("%s cores: %s shards, want %s", cpu, got, shards)
		}
	}
	pod := podOf(t, objects(t, "--set", "cpu=8", "--set", "shards=5"))
	if got := argument(t, pod, "--shards"); got != "5" {
		t.Errorf("told 5 shards, got %s", got)
	}
}

func TestProbesAskTheAdminPort(t *testing.T) {
	for name, values := range cases(t) {
		pod := podOf(t, objects(t, "--values", values))
		container := pod.Containers[0]
		if !strings.HasSuffix(argument(t, pod, "--admin"), ":19000") || container.Ports[0].ContainerPort != 19000 {
			t.Errorf("%s: admin port", name)
		}
		ready, live := container.ReadinessProbe.HTTPGet, container.LivenessProbe.HTTPGet
		if ready.Path != "/readyz" || live.Path != "/livez" {
			t.Errorf("%s: probes ask %s and %s", name, ready.Path, live.Path)
		}
		if ready.Port.String() != container.Ports[0].Name || live.Port.String() != container.Ports[0].Name {
			t.Errorf("%s: probes ask ports %v and %v", name, ready.Port, live.Port)
		}
	}
	pod := podOf(t, objects(t, "--set", "admin.host=127.0.0.1"))
	if host := pod.Containers[0].ReadinessProbe.HTTPGet.Host; host != "127.0.0.1" {
		t.Errorf("admin pages on loopback, probed at %q", host)
	}
}

func TestThePodKnowsItsNameNamespaceAndAddresses(t *testing.T) {
	want := map[string]string{
		"RINGWAY_POD_NAME":      "metadata.name",
		"RINGWAY_POD_NAMESPACE": "metadata.namespace",
		"RINGWAY_POD_IPS":       "status.podIPs",
	}
	for _, variable := range podOf(t, objects(t)).Containers[0].Env {
		if variable.ValueFrom != nil && variable.ValueFrom.FieldRef.FieldPath == want[variable.Name] {
			delete(want, variable.Name)
		}
	}
	if len(want) != 0 {
		t.Errorf("missing: %v", want)
	}
}

func TestTheGatewayReadsEveryVariableThatThePodSets(t *testing.T) {
	// Made from the gateway's own flags, to which a test holds it.
	page, err := os.ReadFile("../../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, variable := range podOf(t, objects(t, "--set", "rbac.secretNamespaces={shop}")).Containers[0].Env {
		if !strings.Contains(string(page), "`"+variable.Name+"`") {
			t.Errorf("%s is set but never read", variable.Name)
		}
	}
}

func TestADisruptionBudgetIsOfADeploymentOnly(t *testing.T) {
	if got := kinds(objects(t))["PodDisruptionBudget"]; got != 0 {
		t.Errorf("a DaemonSet has %d", got)
	}
	args := []string{"--set", "kind=Deployment"}
	if got := kinds(objects(t, args...))["PodDisruptionBudget"]; got != 1 {
		t.Errorf("a Deployment has %d", got)
	}
	if got := kinds(objects(t, append(args, "--set", "podDisruptionBudget.enabled=false")...))["PodDisruptionBudget"]; got != 0 {
		t.Errorf("one that wants none has %d", got)
	}
}

func kinds(all []unstructured.Unstructured) map[string]int {
	count := map[string]int{}
	for _, object := range all {
		count[object.GetKind()]++
	}
	return count
}

// argument returns the value of a flag of the container.
func argument(t *testing.T, pod corev1.PodSpec, flag string) string {
	t.Helper()
	for _, argument := range pod.Containers[0].Args {
		if value, found := strings.CutPrefix(argument, flag+"="); found {
			return value
		}
	}
	t.Fatalf("no %s in %v", flag, pod.Containers[0].Args)
	return ""
}

// A replica that is not ready must get no traffic, so this Service is not the one for metrics.
func TestTheServiceOfTheReplicasSelectsTheReadyPods(t *testing.T) {
	for name, values := range cases(t) {
		all := objects(t, "--values", values)
		var named string
		for _, variable := range podOf(t, all).Containers[0].Env {
			if variable.Name == "RINGWAY_REPLICA_SERVICE" {
				named = variable.Value
			}
		}
		found := false
		for _, service := range decode[corev1.Service](t, all, "Service") {
			found = found || service.Name == named && !service.Spec.PublishNotReadyAddresses
		}
		if !found {
			t.Errorf("%s: no such Service: %q", name, named)
		}
	}
}
