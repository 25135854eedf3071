package tests

import (
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// grant is one rule and where it holds: a namespace, or everywhere.
type grant struct {
	namespace string
	rule      rbacv1.PolicyRule
}

func grants(t *testing.T, all []unstructured.Unstructured) []grant {
	t.Helper()
	var found []grant
	for _, role := range decode[rbacv1.ClusterRole](t, all, "ClusterRole") {
		for _, rule := range role.Rules {
			found = append(found, grant{rule: rule})
		}
	}
	for _, role := range decode[rbacv1.Role](t, all, "Role") {
		for _, rule := range role.Rules {
			found = append(found, grant{namespace: role.Namespace, rule: rule})
		}
	}
	return found
}

var reads = []string{"get", "list", "watch"}

func TestNoRightIsAWildcard(t *testing.T) {
	for name, values := range cases(t) {
		for _, grant := range grants(t, objects(t, "--values", values)) {
			rule := grant.rule
			words := slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs, rule.NonResourceURLs)
			for _, word := range words {
				if strings.Contains(word, "*") {
					t.Errorf("%s: %q in %v", name, word, rule)
				}
			}
		}
	}
}

// What may be written is listed here in full; whatever the chart grants beyond it fails.
func TestOnlyStatusAndOurOwnObjectsAreWritten(t *testing.T) {
	writable := map[string][]string{
		"gateways/finalizers": {"update"},
		"services":            {"create", "update", "patch", "delete"},
		"endpointslices":      {"create", "update", "patch", "delete"},
		"leases":              {"create", "update"},
	}
	for name, values := range cases(t) {
		for _, grant := range grants(t, objects(t, "--values", values)) {
			for _, resource := range grant.rule.Resources {
				allowed := writable[resource]
				if strings.HasSuffix(resource, "/status") && slices.Equal(grant.rule.APIGroups, []string{"gateway.networking.k8s.io"}) {
					allowed = []string{"update", "patch"}
				}
				for _, verb := range grant.rule.Verbs {
					if !slices.Contains(reads, verb) && !slices.Contains(allowed, verb) {
						t.Errorf("%s: may %s %s", name, verb, resource)
					}
				}
				if resource == "leases" && grant.namespace != namespace {
					t.Errorf("%s: leases of namespace %q", name, grant.namespace)
				}
			}
		}
	}
}

func TestSecretsAreReadEverywhereOrInTheListedNamespacesOnly(t *testing.T) {
	where := func(args ...string) []string {
		var found []string
		for _, grant := range grants(t, objects(t, args...)) {
			if slices.Contains(grant.rule.Resources, "secrets") {
				found = append(found, grant.namespace)
			}
		}
		return found
	}
	if got := where(); !slices.Equal(got, []string{""}) {
		t.Errorf("default: %q", got)
	}
	args := []string{"--set", "rbac.secretNamespaces={certificates,shop}"}
	if got := where(args...); !slices.Equal(got, []string{"certificates", "shop"}) {
		t.Errorf("two namespaces: %q", got)
	}
	var told string
	for _, variable := range podOf(t, objects(t, args...)).Containers[0].Env {
		if variable.Name == "RINGWAY_SECRET_NAMESPACES" {
			told = variable.Value
		}
	}
	if told != "certificates,shop" {
		t.Errorf("the process is told %q", told)
	}
}

func TestEveryKindThatIsWatchedMayBeRead(t *testing.T) {
	want := []string{
		"gatewayclasses", "gateways", "listenersets", "httproutes", "grpcroutes", "tlsroutes", "tcproutes",
		"udproutes", "backendtlspolicies", "referencegrants", "services", "endpointslices", "namespaces",
		"configmaps", "secrets", "clustertrustbundles",
	}
	for _, grant := range grants(t, objects(t)) {
		for _, resource := range grant.rule.Resources {
			all := !slices.ContainsFunc(reads, func(verb string) bool { return !slices.Contains(grant.rule.Verbs, verb) })
			if i := slices.Index(want, resource); i >= 0 && all {
				want = slices.Delete(want, i, i+1)
			}
		}
	}
	if len(want) != 0 {
		t.Errorf("may not be read: %v", want)
	}
}

func TestEveryBindingIsOfARoleAndTheAccountOfThePod(t *testing.T) {
	for name, values := range cases(t) {
		all := objects(t, "--values", values)
		account := podOf(t, all).ServiceAccountName
		roles := map[string]bool{}
		for _, object := range all {
			if strings.HasSuffix(object.GetKind(), "Role") {
				roles[object.GetKind()+" "+object.GetNamespace()+"/"+object.GetName()] = true
			}
		}
		check := func(namespace string, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
			key := ref.Kind + " " + namespace + "/" + ref.Name
			if !roles[key] {
				t.Errorf("%s: a binding of no role: %s", name, key)
			}
			delete(roles, key)
			if len(subjects) != 1 || subjects[0].Name != account || subjects[0].Namespace != "ringway-system" {
				t.Errorf("%s: %s bound to %v, the pod is %s", name, key, subjects, account)
			}
		}
		for _, binding := range decode[rbacv1.ClusterRoleBinding](t, all, "ClusterRoleBinding") {
			check("", binding.RoleRef, binding.Subjects)
		}
		for _, binding := range decode[rbacv1.RoleBinding](t, all, "RoleBinding") {
			check(binding.Namespace, binding.RoleRef, binding.Subjects)
		}
		if len(roles) != 0 {
			t.Errorf("%s: roles without a binding: %v", name, roles)
		}
	}
}
