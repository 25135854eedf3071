package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	authentication "k8s.io/api/authentication/v1"
	"k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	volumeutil "k8s.io/kubernetes/pkg/volume/util"
)

const (
	defaultMode     = 0o644
	tokenLifetime   = 3600
	tokenFilesMode  = 0o600
	tokenRenewParts = 5 // a token is renewed after all but one of so many parts of its life
)

// contentOf gives the files of a volume that comes from the API server.
func (v *volumes) contentOf(ctx context.Context, pod *v1.Pod, source *v1.VolumeSource) (payload, error) {
	content := payload{}
	switch {
	case source.Secret != nil:
		from := source.Secret
		mode := modeOr(from.DefaultMode, defaultMode)
		return content, v.addSecret(content, pod.Namespace, from.SecretName, from.Items, from.Optional, mode)
	case source.ConfigMap != nil:
		from := source.ConfigMap
		mode := modeOr(from.DefaultMode, defaultMode)
		return content, v.addConfigMap(content, pod.Namespace, from.Name, from.Items, from.Optional, mode)
	case source.DownwardAPI != nil:
		from := source.DownwardAPI
		return content, v.addFields(content, pod, from.Items, modeOr(from.DefaultMode, defaultMode))
	case source.Projected != nil:
		mode := modeOr(source.Projected.DefaultMode, defaultMode)
		for _, part := range source.Projected.Sources {
			if err := v.addPart(ctx, content, pod, part, mode); err != nil {
				return nil, err
			}
		}
		return content, nil
	default:
		return nil, errors.New("it is of a kind this cluster does not offer (secret, configMap, emptyDir, projected, downwardAPI and hostPath are)")
	}
}

func (v *volumes) addPart(ctx context.Context, content payload, pod *v1.Pod, part v1.VolumeProjection, mode int32) error {
	switch {
	case part.Secret != nil:
		return v.addSecret(content, pod.Namespace, part.Secret.Name, part.Secret.Items, part.Secret.Optional, mode)
	case part.ConfigMap != nil:
		return v.addConfigMap(content, pod.Namespace, part.ConfigMap.Name, part.ConfigMap.Items, part.ConfigMap.Optional, mode)
	case part.DownwardAPI != nil:
		return v.addFields(content, pod, part.DownwardAPI.Items, mode)
	case part.ServiceAccountToken != nil:
		return v.addToken(ctx, content, pod, part.ServiceAccountToken, mode)
	default:
		return errors.New("one of its sources is of a kind this cluster does not offer")
	}
}

func (v *volumes) addSecret(content payload, namespace, name string, items []v1.KeyToPath, optional *bool, mode int32) error {
	secret, err := v.agent.secrets.Secrets(namespace).Get(name)
	if err != nil {
		return unlessOptional(err, optional)
	}
	return content.add(secret.Data, items, optional, mode, "secret "+name)
}

func (v *volumes) addConfigMap(content payload, namespace, name string, items []v1.KeyToPath, optional *bool, mode int32) error {
	configMap, err := v.agent.configMaps.ConfigMaps(namespace).Get(name)
	if err != nil {
		return unlessOptional(err, optional)
	}
	data := make(map[string][]byte, len(configMap.Data)+len(configMap.BinaryData))
	for key, value := range configMap.Data {
		data[key] = []byte(value)
	}
	for key, value := range configMap.BinaryData {
		data[key] = value
	}
	return content.add(data, items, optional, mode, "config map "+name)
}

// add takes all of data, or what items name under the paths they give.
func (p payload) add(data map[string][]byte, items []v1.KeyToPath, optional *bool, mode int32, what string) error {
	if items == nil {
		for key, value := range data {
			p[key] = volumeutil.FileProjection{Data: value, Mode: mode}
		}
		return nil
	}
	for _, item := range items {
		value, found := data[item.Key]
		if !found && optional != nil && *optional {
			continue
		}
		if !found {
			return fmt.Errorf("%s has no key %s", what, item.Key)
		}
		p[item.Path] = volumeutil.FileProjection{Data: value, Mode: modeOr(item.Mode, mode)}
	}
	return nil
}

func (v *volumes) addFields(content payload, pod *v1.Pod, items []v1.DownwardAPIVolumeFile, mode int32) error {
	for _, item := range items {
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = field(pod, item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			value, err = resourceField(v.agent.node, pod, "", item.ResourceFieldRef)
		}
		if err != nil {
			return fmt.Errorf("file %s: %w", item.Path, err)
		}
		content[item.Path] = volumeutil.FileProjection{Data: []byte(value), Mode: modeOr(item.Mode, mode)}
	}
	return nil
}

// addToken adds a token that is bound to the pod: it ends with it.
func (v *volumes) addToken(ctx context.Context, content payload, pod *v1.Pod, source *v1.ServiceAccountTokenProjection, mode int32) error {
	current, err := v.token(ctx, pod, source)
	if err != nil {
		return err
	}
	file := volumeutil.FileProjection{Data: []byte(current), Mode: mode}
	if owner := onlyUser(pod); owner != nil {
		file.FsUser, file.Mode = owner, tokenFilesMode
	} else if fsGroup(pod) != nil {
		file.Mode = tokenFilesMode
	}
	content[source.Path] = file
	return nil
}

func (v *volumes) token(ctx context.Context, pod *v1.Pod, source *v1.ServiceAccountTokenProjection) (string, error) {
	known, found := v.tokens[source.Audience]
	if found && time.Now().Before(known.renewAt) {
		return known.text, nil
	}
	lifetime := int64(tokenLifetime)
	if source.ExpirationSeconds != nil {
		lifetime = *source.ExpirationSeconds
	}
	request := &authentication.TokenRequest{Spec: authentication.TokenRequestSpec{
		ExpirationSeconds: &lifetime,
		BoundObjectRef:    &authentication.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
	}}
	if source.Audience != "" {
		request.Spec.Audiences = []string{source.Audience}
	}
	accounts := v.agent.client.CoreV1().ServiceAccounts(pod.Namespace)
	answer, err := accounts.CreateToken(ctx, pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil && found && !apierrors.IsNotFound(err) {
		// The token in use is good for a while yet.
		return known.text, nil
	}
	if err != nil {
		return "", fmt.Errorf("a token of service account %s: %w", pod.Spec.ServiceAccountName, err)
	}
	life := time.Until(answer.Status.ExpirationTimestamp.Time)
	v.tokens[source.Audience] = token{
		text:    answer.Status.Token,
		renewAt: time.Now().Add(life - life/tokenRenewParts),
	}
	return answer.Status.Token, nil
}

// onlyUser gives the user of all containers, if they all name the same one.
func onlyUser(pod *v1.Pod) *int64 {
	var user *int64
	for index := range pod.Spec.Containers {
		r, err := rightsOf(pod, &pod.Spec.Containers[index])
		if err != nil {
			return nil
		}
		uid := int64(r.uid)
		if uid == 0 || (user != nil && *user != uid) {
			return nil
		}
		user = &uid
	}
	return user
}

func modeOr(mode *int32, otherwise int32) int32 {
	if mode == nil {
		return otherwise
	}
	return *mode
}
