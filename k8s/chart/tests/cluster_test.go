//go:build cluster

package tests

import (
	"context"
	"os"
	"testing"

	authv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
)

// api is the cluster of KUBECONFIG, with the CRDs of the Gateway API.
type api struct {
	clients *kubernetes.Clientset
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
}

func connect(t *testing.T) *api {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	cache := memory.NewMemCacheClient(clients.Discovery())
	return &api{clients: clients, dynamic: objects, mapper: restmapper.NewDeferredDiscoveryRESTMapper(cache)}
}

// resource finds where the object belongs.
func (a *api) resource(t *testing.T, object *unstructured.Unstructured) dynamic.ResourceInterface {
	t.Helper()
	kind := object.GroupVersionKind()
	mapping, err := a.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		t.Fatalf("%v: %v", kind, err)
	}
	if object.GetNamespace() == "" {
		return a.dynamic.Resource(mapping.Resource)
	}
	return a.dynamic.Resource(mapping.Resource).Namespace(object.GetNamespace())
}

// apply is a server-side apply that refuses unknown fields.
func (a *api) apply(t *testing.T, object *unstructured.Unstructured, dryRun ...string) {
	t.Helper()
	text, err := object.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	force := true
	options := metav1.PatchOptions{FieldManager: "chart-test", Force: &force, FieldValidation: metav1.FieldValidationStrict, DryRun: dryRun}
	_, err = a.resource(t, object).Patch(context.Background(), object.GetName(), types.ApplyPatchType, text, options)
	if err != nil {
		t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), err)
	}
}

// prepare makes a namespace that goes away with the test.
func (a *api) prepare(t *testing.T, name string) {
	t.Helper()
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	_, err := a.clients.CoreV1().Namespaces().Create(context.Background(), object, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.clients.CoreV1().Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// The API server takes every object of every set of values. The ServiceMonitor is of an operator
// that is not part of a cluster.
func TestTheAPIServerAcceptsEveryObject(t *testing.T) {
	cluster := connect(t)
	for _, name := range []string{namespace, "certificates", "shop"} {
		cluster.prepare(t, name)
	}
	for name, values := range cases(t) {
		t.Run(name, func(t *testing.T) {
			for _, object := range objects(t, "--values", values, "--set", "metrics.serviceMonitor.enabled=false") {
				cluster.apply(t, &object, metav1.DryRunAll)
			}
		})
	}
}

// With the chart's rights and no others, asked of the API server itself.
func TestTheAccountMayDoWhatItNeedsAndNoMore(t *testing.T) {
	cluster := connect(t)
	const own = "ringway-rights-test"
	for _, name := range []string{own, "ringway-rights-secrets"} {
		cluster.prepare(t, name)
	}
	for _, object := range objects(t, "--namespace", own, "--set", "rbac.secretNamespaces={ringway-rights-secrets}") {
		switch object.GetKind() {
		case "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding":
		default:
			continue
		}
		cluster.apply(t, &object)
		t.Cleanup(func() {
			err := cluster.resource(t, &object).Delete(context.Background(), object.GetName(), metav1.DeleteOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
		})
	}
	for _, question := range []struct {
		want                              bool
		verb, group, resource, sub, where string
		name                              string
	}{
		{true, "list", "gateway.networking.k8s.io", "httproutes", "", "", ""},
		{true, "watch", "gateway.networking.k8s.io", "backendtlspolicies", "", "", ""},
		{true, "update", "gateway.networking.k8s.io", "gateways", "status", "default", ""},
		{true, "create", "", "services", "", "default", ""},
		{true, "delete", "discovery.k8s.io", "endpointslices", "", "default", ""},
		{true, "update", "coordination.k8s.io", "leases", "", own, "ringway"},
		{false, "update", "coordination.k8s.io", "leases", "", own, "another"},
		{true, "watch", "", "secrets", "", "ringway-rights-secrets", ""},
		{true, "get", "apiextensions.k8s.io", "customresourcedefinitions", "", "", "gatewayclasses.gateway.networking.k8s.io"},
		{false, "get", "apiextensions.k8s.io", "customresourcedefinitions", "", "", "gateways.gateway.networking.k8s.io"},
		{false, "list", "apiextensions.k8s.io", "customresourcedefinitions", "", "", ""},
		{false, "create", "events.k8s.io", "events", "", "default", ""},
		{false, "update", "gateway.networking.k8s.io", "gateways", "", "default", ""},
		{false, "delete", "gateway.networking.k8s.io", "httproutes", "", "default", ""},
		{false, "update", "coordination.k8s.io", "leases", "", "kube-system", ""},
		{false, "get", "", "secrets", "", "default", ""},
		{false, "list", "", "secrets", "", "", ""},
		{false, "update", "", "secrets", "", "ringway-rights-secrets", ""},
		{false, "create", "", "secrets", "", own, ""},
		{false, "create", "", "pods", "", own, ""},
		{false, "get", "", "nodes", "", "", ""},
		{false, "create", "", "serviceaccounts", "token", own, ""},
		{false, "update", "", "configmaps", "", own, ""},
		{false, "update", "rbac.authorization.k8s.io", "clusterroles", "", "", ""},
		{false, "update", "apiextensions.k8s.io", "customresourcedefinitions", "", "", ""},
	} {
		review := &authv1.SubjectAccessReview{Spec: authv1.SubjectAccessReviewSpec{
			User:   "system:serviceaccount:" + own + ":ringway",
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + own, "system:authenticated"},
			ResourceAttributes: &authv1.ResourceAttributes{
				Verb: question.verb, Group: question.group, Resource: question.resource,
				Subresource: question.sub, Namespace: question.where, Name: question.name,
			},
		}}
		answer, err := cluster.clients.AuthorizationV1().SubjectAccessReviews().Create(context.Background(), review, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if answer.Status.Allowed != question.want {
			t.Errorf("%s %s/%s %s in %q: allowed is %v", question.verb, question.resource, question.sub, question.group, question.where, answer.Status.Allowed)
		}
	}
}
