// Package manifest applies a folder of manifests to a cluster that has none of their objects yet, and waits until the
// API server serves the resources that the CustomResourceDefinitions among them define.
package manifest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// Apply creates every object of the folder's YAML files, in the order of the files' names.
func Apply(ctx context.Context, config *rest.Config, folder string) error {
	objects, err := read(folder)
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("a client for manifests: %w", err)
	}
	discoverer, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return fmt.Errorf("a client for manifests: %w", err)
	}
	groups, err := restmapper.GetAPIGroupResources(discoverer)
	if err != nil {
		return fmt.Errorf("what the API server serves: %w", err)
	}
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	for _, object := range objects {
		kind := object.GroupVersionKind()
		mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			return fmt.Errorf("%s %s: %w", kind.Kind, object.GetName(), err)
		}
		resource := client.Resource(mapping.Resource).Namespace(object.GetNamespace())
		if _, err := resource.Create(ctx, object, v1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating %s %s: %w", kind.Kind, object.GetName(), err)
		}
	}
	return awaitDefinitions(ctx, client)
}

func read(folder string) ([]*unstructured.Unstructured, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("the folder of manifests: %w", err)
	}
	var objects []*unstructured.Unstructured
	for _, entry := range entries {
		extension := filepath.Ext(entry.Name())
		if entry.IsDir() || (extension != ".yaml" && extension != ".yml") || strings.HasPrefix(entry.Name(), "kustomization.") {
			continue
		}
		more, err := readFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			return nil, err
		}
		objects = append(objects, more...)
	}
	if len(objects) == 0 {
		return nil, fmt.Errorf("%s holds no manifest (*.yaml)", folder)
	}
	return objects, nil
}

func readFile(path string) ([]*unstructured.Unstructured, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("a manifest: %w", err)
	}
	defer file.Close()
	decoder := yaml.NewYAMLOrJSONDecoder(file, 4096)
	var objects []*unstructured.Unstructured
	for {
		content := map[string]any{}
		err := decoder.Decode(&content)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		// Documents of comments only are empty.
		if len(content) > 0 {
			objects = append(objects, &unstructured.Unstructured{Object: content})
		}
	}
}

func awaitDefinitions(ctx context.Context, client dynamic.Interface) error {
	for {
		list, err := client.Resource(definitions).List(ctx, v1.ListOptions{})
		if err != nil {
			return fmt.Errorf("the CustomResourceDefinitions: %w", err)
		}
		missing := ""
		for index := range list.Items {
			if !established(&list.Items[index]) {
				missing = list.Items[index].GetName()
			}
		}
		if missing == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API server does not serve %s: %w", missing, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func established(definition *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(definition.Object, "status", "conditions")
	for _, entry := range conditions {
		condition, ok := entry.(map[string]any)
		if ok && condition["type"] == "Established" && condition["status"] == "True" {
			return true
		}
	}
	return false
}
