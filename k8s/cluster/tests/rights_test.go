package tests

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	rbac "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func TestAPodsTokenHasTheRightsOfItsServiceAccountAndNoMore(t *testing.T) {
	namespace := shared.namespace(t)
	ctx := context.Background()
	shared.pod(t, namespace, "holder", "sleep 1000", nil)
	uid := shared.readyPods(t, namespace, "holder", 1)[0].UID
	client := podClient(t, filepath.Join(shared.folder.Pods(), string(uid), "volumes", "*", "token"))

	_, err := client.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
	if !apierrors.IsForbidden(err) {
		t.Fatalf("without any role it may list Services: %v", err)
	}
	role := &rbac.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Rules:      []rbac.PolicyRule{{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{"list"}}},
	}
	if _, err := shared.client.RbacV1().Roles(namespace).Create(ctx, role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbac.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		RoleRef:    rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "Role", Name: "reader"},
		Subjects:   []rbac.Subject{{Kind: "ServiceAccount", Name: "default", Namespace: namespace}},
	}
	if _, err := shared.client.RbacV1().RoleBindings(namespace).Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the right to list Services", func() error {
		_, err := client.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
		return err
	})
	if _, err := client.CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a role for Services lets it list Secrets: %v", err)
	}
	if err := shared.client.CoreV1().Pods(namespace).Delete(ctx, "holder", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the token with its pod", func() error {
		_, err := client.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
		if !apierrors.IsUnauthorized(err) {
			return fmt.Errorf("it still works: %v", err)
		}
		return nil
	})
}

// podClient makes a client with the token, the authority and the address that a pod has.
func podClient(t *testing.T, pattern string) kubernetes.Interface {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) != 1 {
		t.Fatalf("the pod's token is not in %s: %v %v", pattern, paths, err)
	}
	token, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(&rest.Config{
		Host:            "https://10.96.0.1",
		BearerToken:     string(token),
		TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(filepath.Dir(paths[0]), "ca.crt")},
		Dial:            shared.dial,
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestNobodyGetsInWithoutAuthentication(t *testing.T) {
	client, err := kubernetes.NewForConfig(&rest.Config{
		Host:            shared.config.Host,
		TLSClientConfig: rest.TLSClientConfig{CAFile: shared.folder.Key("ca.crt")},
		Dial:            shared.dial,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Nodes().List(context.Background(), metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Errorf("anonymous requests are answered: %v", err)
	}
}
