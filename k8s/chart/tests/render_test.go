package tests

import (
	"fmt"
	"os"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

func TestLintFindsNothing(t *testing.T) {
	for name, values := range cases(t) {
		out, errors, err := helm(t, "lint", "--strict", chart, "--values", values)
		if err != nil {
			t.Errorf("%s: %v\n%s%s", name, err, out, errors)
		}
	}
}

func TestEachSetOfValuesRendersItsGoldenFile(t *testing.T) {
	for name, values := range cases(t) {
		got := render(t, "--values", values)
		golden := "testdata/" + name + ".golden.yaml"
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Errorf("%v (UPDATE=1 writes it)", err)
			continue
		}
		if line := firstDifference(string(want), got); line != "" {
			t.Errorf("%s: %s\nUPDATE=1 rewrites the golden files", name, line)
		}
	}
}

func firstDifference(want, got string) string {
	wanted, gotten := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(wanted), len(gotten)) {
		var a, b string
		if i < len(wanted) {
			a = wanted[i]
		}
		if i < len(gotten) {
			b = gotten[i]
		}
		if a != b || i >= len(wanted) || i >= len(gotten) {
			return fmt.Sprintf("line %d: want %q, got %q", i+1, a, b)
		}
	}
	return ""
}

// Decoding is strict: a field that Kubernetes does not know fails here and not on a cluster.
func TestEveryBuiltInObjectDecodesStrictly(t *testing.T) {
	elsewhere := map[string]bool{"GatewayClass": true, "ServiceMonitor": true}
	for name, values := range cases(t) {
		for _, object := range objects(t, "--values", values) {
			into := typed(object.GetKind())
			if into == nil {
				if !elsewhere[object.GetKind()] {
					t.Errorf("%s: kind %s has no type in this test", name, object.GetKind())
				}
				continue
			}
			err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, into, true)
			if err != nil {
				t.Errorf("%s: %s %s: %v", name, object.GetKind(), object.GetName(), err)
			}
		}
	}
}

func typed(kind string) any {
	switch kind {
	case "ServiceAccount":
		return &corev1.ServiceAccount{}
	case "Service":
		return &corev1.Service{}
	case "DaemonSet":
		return &appsv1.DaemonSet{}
	case "Deployment":
		return &appsv1.Deployment{}
	case "ClusterRole":
		return &rbacv1.ClusterRole{}
	case "ClusterRoleBinding":
		return &rbacv1.ClusterRoleBinding{}
	case "Role":
		return &rbacv1.Role{}
	case "RoleBinding":
		return &rbacv1.RoleBinding{}
	case "PodDisruptionBudget":
		return &policyv1.PodDisruptionBudget{}
	case "PriorityClass":
		return &schedulingv1.PriorityClass{}
	default:
		return nil
	}
}

// decode finds the objects of one kind.
func decode[T any](t *testing.T, all []unstructured.Unstructured, kind string) []T {
	t.Helper()
	var found []T
	for _, object := range all {
		if object.GetKind() != kind {
			continue
		}
		var into T
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &into); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		found = append(found, into)
	}
	return found
}
