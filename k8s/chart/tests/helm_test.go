// Package tests holds the tests of the chart, by the real helm: what it renders for several sets of
// values, what it refuses, and which rights it grants.
//
// They need the helm binary in HELM; ../test builds it and runs them.
package tests

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const (
	chart     = ".."
	release   = "ringway"
	namespace = "ringway-system"
)

// helm runs helm and returns both its outputs.
func helm(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	binary := os.Getenv("HELM")
	if binary == "" {
		t.Fatal("HELM is not set: run k8s/chart/test")
	}
	command := exec.Command(binary, args...)
	var out, errors bytes.Buffer
	command.Stdout, command.Stderr = &out, &errors
	// Nothing of the user's own configuration, plugins or cluster takes part.
	home := t.TempDir()
	command.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "KUBECONFIG=" + filepath.Join(home, "none")}
	err = command.Run()
	return out.String(), errors.String(), err
}

// render returns what the chart renders, as text.
func render(t *testing.T, args ...string) string {
	t.Helper()
	out, errors, err := helm(t, append([]string{"template", release, chart, "--namespace", namespace}, args...)...)
	if err != nil {
		t.Fatalf("helm template %s: %v\n%s", strings.Join(args, " "), err, errors)
	}
	return out
}

// objects returns what the chart renders, decoded.
func objects(t *testing.T, args ...string) []unstructured.Unstructured {
	t.Helper()
	var all []unstructured.Unstructured
	for _, document := range strings.Split("\n"+render(t, args...), "\n---\n") {
		var object map[string]any
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatalf("not YAML: %v\n%s", err, document)
		}
		if len(object) > 0 {
			all = append(all, unstructured.Unstructured{Object: object})
		}
	}
	return all
}

// cases are the sets of values under testdata, by name.
func cases(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.values.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no sets of values under testdata: %v", err)
	}
	all := map[string]string{}
	for _, path := range paths {
		all[strings.TrimSuffix(filepath.Base(path), ".values.yaml")] = path
	}
	return all
}
