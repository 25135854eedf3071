package node

import (
	"fmt"
	"strconv"

	"k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/kubernetes/pkg/api/v1/resource"
	"k8s.io/kubernetes/pkg/fieldpath"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"

	"ringway.dev/cluster/internal/state"
)

// environment is what a container's process gets as its environment, in the order of the spec and by name.
type environment struct {
	names  []string
	values map[string]string
}

func (e *environment) set(name, value string) {
	if _, known := e.values[name]; !known {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

func (e *environment) list() []string {
	list := make([]string, 0, len(e.names))
	for _, name := range e.names {
		list = append(list, name+"="+e.values[name])
	}
	return list
}

// expand replaces $(NAME) as Kubernetes does.
func (e *environment) expand(text string) string {
	return expansion.Expand(text, expansion.MappingFuncFor(e.values))
}

func (a *Agent) environmentOf(pod *v1.Pod, container *v1.Container) (*environment, error) {
	env := &environment{values: map[string]string{}}
	env.set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	env.set("HOSTNAME", hostname(pod))
	env.set("HOME", "/")
	env.set("KUBERNETES_SERVICE_HOST", state.APIServiceAddress)
	env.set("KUBERNETES_SERVICE_PORT", "443")
	env.set("KUBERNETES_SERVICE_PORT_HTTPS", "443")
	for _, source := range container.EnvFrom {
		if err := a.setAll(env, pod, source); err != nil {
			return nil, err
		}
	}
	for _, variable := range container.Env {
		if variable.ValueFrom == nil {
			env.set(variable.Name, env.expand(variable.Value))
			continue
		}
		value, found, err := a.valueFrom(pod, container, variable.ValueFrom)
		if err != nil {
			return nil, fmt.Errorf("environment variable %s: %w", variable.Name, err)
		}
		if found {
			env.set(variable.Name, value)
		}
	}
	return env, nil
}

func (a *Agent) setAll(env *environment, pod *v1.Pod, source v1.EnvFromSource) error {
	values := map[string]string{}
	switch {
	case source.ConfigMapRef != nil:
		object, err := a.configMaps.ConfigMaps(pod.Namespace).Get(source.ConfigMapRef.Name)
		if err != nil {
			return unlessOptional(err, source.ConfigMapRef.Optional)
		}
		values = object.Data
	case source.SecretRef != nil:
		object, err := a.secrets.Secrets(pod.Namespace).Get(source.SecretRef.Name)
		if err != nil {
			return unlessOptional(err, source.SecretRef.Optional)
		}
		for name, value := range object.Data {
			values[name] = string(value)
		}
	}
	for name, value := range values {
		env.set(source.Prefix+name, value)
	}
	return nil
}

func (a *Agent) valueFrom(pod *v1.Pod, container *v1.Container, source *v1.EnvVarSource) (value string, found bool, err error) {
	switch {
	case source.FieldRef != nil:
		value, err = field(pod, source.FieldRef.FieldPath)
		return value, err == nil, err
	case source.ResourceFieldRef != nil:
		value, err = resourceField(a.node, pod, container.Name, source.ResourceFieldRef)
		return value, err == nil, err
	case source.ConfigMapKeyRef != nil:
		ref := source.ConfigMapKeyRef
		object, err := a.configMaps.ConfigMaps(pod.Namespace).Get(ref.Name)
		if err != nil {
			return "", false, unlessOptional(err, ref.Optional)
		}
		if value, found = object.Data[ref.Key]; !found {
			return "", false, keyMissing("config map", ref.Name, ref.Key, ref.Optional)
		}
		return value, true, nil
	case source.SecretKeyRef != nil:
		ref := source.SecretKeyRef
		object, err := a.secrets.Secrets(pod.Namespace).Get(ref.Name)
		if err != nil {
			return "", false, unlessOptional(err, ref.Optional)
		}
		content, found := object.Data[ref.Key]
		if !found {
			return "", false, keyMissing("secret", ref.Name, ref.Key, ref.Optional)
		}
		return string(content), true, nil
	default:
		return "", false, fmt.Errorf("its source is of a kind this cluster does not offer")
	}
}

func unlessOptional(err error, optional *bool) error {
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil
	}
	return err
}

func keyMissing(kind, name, key string, optional *bool) error {
	if optional != nil && *optional {
		return nil
	}
	return fmt.Errorf("%s %s has no key %s", kind, name, key)
}

// field gives what a fieldRef means. The pod must have its addresses in its status.
func field(pod *v1.Pod, path string) (string, error) {
	switch path {
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP", "status.hostIPs":
		return state.NodeAddress, nil
	case "status.podIP", "status.podIPs":
		return pod.Status.PodIP, nil
	default:
		return fieldpath.ExtractFieldPathAsString(pod, path)
	}
}

// resourceField gives what a resourceFieldRef means; where the pod sets no limit, it is the node's capacity.
func resourceField(node *v1.Node, pod *v1.Pod, container string, source *v1.ResourceFieldSelector) (string, error) {
	if source.ContainerName != "" {
		container = source.ContainerName
	}
	return resource.ExtractResourceValueByContainerNameAndNodeAllocatable(source, pod, container, node.Status.Allocatable)
}

// hostname is what a pod's processes find as the name of their machine.
func hostname(pod *v1.Pod) string {
	switch {
	case pod.Spec.HostNetwork:
		return state.NodeName
	case pod.Spec.Hostname != "":
		return pod.Spec.Hostname
	default:
		return pod.Name[:min(len(pod.Name), hostnameMax)]
	}
}

const hostnameMax = 63

// portOf resolves a port that may be given by name.
func portOf(container *v1.Container, name string, number int32) (string, error) {
	if name == "" {
		return strconv.Itoa(int(number)), nil
	}
	for _, port := range container.Ports {
		if port.Name == name {
			return strconv.Itoa(int(port.ContainerPort)), nil
		}
	}
	return "", fmt.Errorf("container %s has no port named %s", container.Name, name)
}
