package tests

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// Each mistake is refused, and the answer names what is wrong.
func TestMistakesAreRefused(t *testing.T) {
	for set, named := range map[string]string{
		"shard=2":                            "'shard' not allowed",
		"addresses.modus=pool":               "'modus' not allowed",
		"rbac.secretNamespace={a}":           "'secretNamespace' not allowed",
		"metrics.serviceMonitor.enable=true": "'enable' not allowed",
		"image.Tag=x":                        "'Tag' not allowed",
		"tolerations[0].operater=Exists":     "'operater' not allowed",
		"affinity.nodeAffinty.x=1":           "'nodeAffinty' not allowed",
		"cpu=1500m":                          "/cpu",
		"cpu=1.5":                            "/cpu",
		"cpu=0":                              "/cpu",
		"memory=1 GB":                        "/memory",
		"kind=StatefulSet":                   "/kind",
		"runtime=tokio":                      "/runtime",
		"addresses.mode=nodeport":            "/addresses/mode",
		"seccomp.type=Unconfined":            "/seccomp/type",
		"rbac.secretNamespaces={Shop}":       "/rbac/secretNamespaces/0",
		"extraArgs={shards}":                 "/extraArgs/0",
		"addresses.mode=pool":                "at least one CIDR in addresses.pool",
		"addresses.pool={10.0.0.0/24}":       "addresses.pool is of addresses.mode pool",
		"hostNetwork=false":                  "set hostNetwork: true",
		"shards=3":                           "more than the 2 cores",
		"metrics.service=false,metrics.serviceMonitor.enabled=true":     "metrics.service: true",
		"admin.host=127.0.0.1,metrics.serviceMonitor.enabled=true":      "Prometheus reaches",
		"hostNetwork=false,addresses.mode=service,admin.host=127.0.0.1": "loopback",
	} {
		_, errors, err := helm(t, "template", release, chart, "--set", set)
		if err == nil {
			t.Errorf("--set %s is accepted", set)
		} else if !strings.Contains(errors, named) {
			t.Errorf("--set %s: the answer does not say %q:\n%s", set, named, errors)
		}
	}
}

// The schema is strict at every level, but where Kubernetes has names of its own or people give some.
func TestTheSchemaIsStrictEverywhere(t *testing.T) {
	text, err := os.ReadFile(chart + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	open := map[string]bool{
		"/global": true, "/affinity/nodeAffinity": true, "/affinity/podAffinity": true, "/affinity/podAntiAffinity": true,
	}
	walkSchema(schema, "", func(path string, node map[string]any) {
		if node["type"] != "object" || open[path] {
			return
		}
		switch additional := node["additionalProperties"].(type) {
		case bool:
			if additional {
				t.Errorf("%s takes any name", path)
			}
		case map[string]any:
			if additional["type"] != "string" {
				t.Errorf("%s takes names with any value", path)
			}
		default:
			t.Errorf("%s does not say additionalProperties", path)
		}
	})
}

func walkSchema(node map[string]any, path string, visit func(string, map[string]any)) {
	visit(path, node)
	properties, _ := node["properties"].(map[string]any)
	for name, child := range properties {
		walkSchema(child.(map[string]any), path+"/"+name, visit)
	}
	if items, ok := node["items"].(map[string]any); ok {
		walkSchema(items, path+"/items", visit)
	}
}
