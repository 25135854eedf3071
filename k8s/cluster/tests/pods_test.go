package tests

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestLogsComeThroughTheAPIServer(t *testing.T) {
	namespace := shared.namespace(t)
	shared.pod(t, namespace, "talker", "echo one; echo two >&2; echo three; sleep 1000", nil)
	shared.readyPods(t, namespace, "talker", 1)
	eventually(t, "all lines", func() error {
		log, err := shared.logs(namespace, "talker", &v1.PodLogOptions{})
		if err == nil && log != "one\ntwo\nthree\n" {
			err = fmt.Errorf("the log is %q", log)
		}
		return err
	})
	last := int64(1)
	if log, err := shared.logs(namespace, "talker", &v1.PodLogOptions{TailLines: &last}); err != nil || log != "three\n" {
		t.Errorf("the last line is %q: %v", log, err)
	}
	future := metav1.NewTime(time.Now().Add(time.Hour))
	if log, err := shared.logs(namespace, "talker", &v1.PodLogOptions{SinceTime: &future}); err != nil || log != "" {
		t.Errorf("an hour from now it wrote %q: %v", log, err)
	}
	few := int64(5)
	if log, err := shared.logs(namespace, "talker", &v1.PodLogOptions{LimitBytes: &few}); err != nil || log != "one\nt" {
		t.Errorf("the first 5 bytes are %q: %v", log, err)
	}
	log, err := shared.logs(namespace, "talker", &v1.PodLogOptions{Timestamps: true, TailLines: &last})
	stamp, text, _ := strings.Cut(log, " ")
	if _, parsed := time.Parse(time.RFC3339Nano, stamp); err != nil || parsed != nil || text != "three\n" {
		t.Errorf("with its time the last line is %q: %v", log, err)
	}
}

func TestAPodWaitsForItsVolumesAndFollowsTheirChanges(t *testing.T) {
	namespace := shared.namespace(t)
	ctx := context.Background()
	shared.pod(t, namespace, "reader", "while :; do echo $(cat /config/sub/file) $(cat /secret/key); sleep 0.1; done", func(pod *v1.Pod) {
		pod.Spec.Volumes = []v1.Volume{
			{Name: "config", VolumeSource: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{
				LocalObjectReference: v1.LocalObjectReference{Name: "config"},
				Items:                []v1.KeyToPath{{Key: "key", Path: "sub/file"}},
			}}},
			{Name: "secret", VolumeSource: v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "secret"}}},
		}
		pod.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{
			{Name: "config", MountPath: "/config"}, {Name: "secret", MountPath: "/secret", ReadOnly: true},
		}
	})
	eventually(t, "a complaint about the config map", func() error {
		return waitsFor(namespace, "reader", "ContainerCreating", `configmap "config" not found`)
	})
	config := &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "config"}, Data: map[string]string{"key": "old"}}
	if _, err := shared.client.CoreV1().ConfigMaps(namespace).Create(ctx, config, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a complaint about the secret", func() error {
		return waitsFor(namespace, "reader", "ContainerCreating", `secret "secret" not found`)
	})
	secret := &v1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "secret"}, Data: map[string][]byte{"key": []byte("hidden")}}
	if _, err := shared.client.CoreV1().Secrets(namespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both contents", func() error { return says(namespace, "reader", "old hidden\n") })
	config.Data["key"] = "new"
	if _, err := shared.client.CoreV1().ConfigMaps(namespace).Update(ctx, config, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new content", func() error { return says(namespace, "reader", "new hidden\n") })
}

// waitsFor checks why a pod's container waits.
func waitsFor(namespace, name, reason, message string) error {
	pod, err := shared.getPod(namespace, name)
	if err != nil {
		return err
	}
	if len(pod.Status.ContainerStatuses) != 1 || pod.Status.ContainerStatuses[0].State.Waiting == nil {
		return fmt.Errorf("it does not wait: %+v", pod.Status.ContainerStatuses)
	}
	waiting := pod.Status.ContainerStatuses[0].State.Waiting
	if waiting.Reason != reason || !strings.Contains(waiting.Message, message) {
		return fmt.Errorf("it waits for %s: %s", waiting.Reason, waiting.Message)
	}
	return nil
}

// says checks that a pod's log holds a text.
func says(namespace, name, text string) error {
	log, err := shared.logs(namespace, name, &v1.PodLogOptions{})
	if err == nil && !strings.Contains(log, text) {
		err = fmt.Errorf("its log is\n%s", log)
	}
	return err
}

func TestASecurityContextLimitsTheProcess(t *testing.T) {
	namespace := shared.namespace(t)
	yes, no := true, false
	user, group, files := int64(1234), int64(2345), int64(3456)
	script := `id -u; id -g; id -G; grep -E 'CapPrm|CapBnd|CapAmb|NoNewPrivs' /proc/self/status | tr -d '\t'
touch /here 2>&1; touch /volume/here && echo written; stat -c '%a %u %g' /run/token/..data/token; sleep 1000`
	shared.pod(t, namespace, "limited", script, func(pod *v1.Pod) {
		pod.Spec.SecurityContext = &v1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &user, RunAsGroup: &group, FSGroup: &files}
		pod.Spec.Containers[0].SecurityContext = &v1.SecurityContext{
			ReadOnlyRootFilesystem:   &yes,
			AllowPrivilegeEscalation: &no,
			Capabilities:             &v1.Capabilities{Drop: []v1.Capability{"ALL"}, Add: []v1.Capability{"NET_BIND_SERVICE"}},
		}
		pod.Spec.Volumes = []v1.Volume{
			{Name: "scratch", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}},
			{Name: "token", VolumeSource: v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{Sources: []v1.VolumeProjection{
				{ServiceAccountToken: &v1.ServiceAccountTokenProjection{Path: "token", Audience: "somebody"}},
			}}}},
		}
		pod.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "scratch", MountPath: "/volume"}, {Name: "token", MountPath: "/run/token"}}
	})
	for _, line := range []string{
		"1234\n2345\n2345 3456\n",
		"CapPrm:0000000000000400\nCapBnd:0000000000000400\nCapAmb:0000000000000400\nNoNewPrivs:1\n",
		"Read-only file system\nwritten\n640 1234 3456\n",
	} {
		eventually(t, "what the process may do", func() error { return says(namespace, "limited", line) })
	}
}

func TestAPodThatMustNotBeRootIsRefusedAsRoot(t *testing.T) {
	namespace := shared.namespace(t)
	yes, root := true, int64(0)
	shared.pod(t, namespace, "root", "sleep 1000", func(pod *v1.Pod) {
		pod.Spec.SecurityContext = &v1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &root}
	})
	eventually(t, "a refusal", func() error {
		return waitsFor(namespace, "root", "CreateContainerConfigError", "runAsNonRoot is true and runAsUser is 0")
	})
}

func TestAnUnknownImageWaitsUntilItIsLoaded(t *testing.T) {
	namespace := shared.namespace(t)
	shared.pod(t, namespace, "novel", "sleep 1000", func(pod *v1.Pod) { pod.Spec.Containers[0].Image = "example.org/novel:v2" })
	eventually(t, "a complaint", func() error {
		return waitsFor(namespace, "novel", "ImagePullBackOff", "cluster load-images --name shared example.org/novel:v2=PATH")
	})
	shared.must(t, "load-images", "example.org/novel:v2=/bin/sh")
	shared.readyPods(t, namespace, "novel", 1)
}

func TestAnEndedContainerStartsAgain(t *testing.T) {
	namespace := shared.namespace(t)
	shared.pod(t, namespace, "brief", "echo here; sleep 0.2; exit 3", nil)
	eventually(t, "two restarts", func() error {
		pod, err := shared.getPod(namespace, "brief")
		if err != nil {
			return err
		}
		if len(pod.Status.ContainerStatuses) != 1 || pod.Status.ContainerStatuses[0].RestartCount < 2 {
			return fmt.Errorf("%+v", pod.Status.ContainerStatuses)
		}
		last := pod.Status.ContainerStatuses[0].LastTerminationState.Terminated
		if last != nil && last.ExitCode != 3 {
			t.Errorf("it ended with status %d", last.ExitCode)
		}
		return nil
	})
}

func TestAPodThatNeedNotRestartSucceeds(t *testing.T) {
	namespace := shared.namespace(t)
	shared.pod(t, namespace, "once", "echo $GREETING", func(pod *v1.Pod) {
		pod.Spec.RestartPolicy = v1.RestartPolicyNever
		pod.Spec.InitContainers = []v1.Container{{Name: "first", Image: shellImage, Args: []string{"-c", "echo init"}}}
		pod.Spec.Containers[0].Env = []v1.EnvVar{{Name: "NAME", Value: "node"}, {Name: "GREETING", Value: "hello $(NAME)"}}
	})
	eventually(t, "its success", func() error {
		pod, err := shared.getPod(namespace, "once")
		if err == nil && pod.Status.Phase != v1.PodSucceeded {
			err = fmt.Errorf("it is %s", pod.Status.Phase)
		}
		return err
	})
	if log, err := shared.logs(namespace, "once", &v1.PodLogOptions{Container: "main"}); err != nil || log != "hello node\n" {
		t.Errorf("it said %q: %v", log, err)
	}
	if log, err := shared.logs(namespace, "once", &v1.PodLogOptions{Container: "first"}); err != nil || log != "init\n" {
		t.Errorf("its init container said %q: %v", log, err)
	}
}

func TestAPodWithAHookServesOnWhileItEnds(t *testing.T) {
	namespace := shared.namespace(t)
	ctx := context.Background()
	shared.echoService(t, namespace, "echo", v1.ServiceTypeClusterIP, nil)
	shared.pod(t, namespace, "echo", "", func(pod *v1.Pod) {
		grace := int64(30)
		pod.Spec.TerminationGracePeriodSeconds = &grace
		pod.Spec.Containers[0].Image = echoImage
		pod.Spec.Containers[0].Args = nil
		pod.Spec.Containers[0].Lifecycle = &v1.Lifecycle{PreStop: &v1.LifecycleHandler{Sleep: &v1.SleepAction{Seconds: 3}}}
	})
	address := shared.readyPods(t, namespace, "echo", 1)[0].Status.PodIP
	if err := shared.client.CoreV1().Pods(namespace).Delete(ctx, "echo", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an endpoint that serves and terminates", func() error {
		slices, err := shared.client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, slice := range slices.Items {
			for _, endpoint := range slice.Endpoints {
				is := endpoint.Conditions
				if *is.Terminating && *is.Serving && !*is.Ready {
					return nil
				}
			}
		}
		return fmt.Errorf("there is none in %+v", slices.Items)
	})
	if _, err := shared.get("", address+":3000"); err != nil {
		t.Errorf("the pod does not answer during its hook: %v", err)
	}
	eventually(t, "its end", func() error {
		_, err := shared.getPod(namespace, "echo")
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("the pod is there: %v", err)
		}
		return nil
	})
	if _, err := shared.get("", address+":3000"); err == nil {
		t.Error("a pod that is gone answers")
	}
}

func TestAReadinessProbeDecidesWhetherAPodIsReady(t *testing.T) {
	namespace := shared.namespace(t)
	shared.pod(t, namespace, "probed", "while :; do sleep 0.1; done", func(pod *v1.Pod) {
		pod.Spec.Containers[0].ReadinessProbe = &v1.Probe{
			PeriodSeconds:    1,
			FailureThreshold: 1,
			ProbeHandler:     v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"test", "-e", "/volume/ready"}}},
		}
		pod.Spec.Volumes = []v1.Volume{{Name: "volume", VolumeSource: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{
			LocalObjectReference: v1.LocalObjectReference{Name: "switch"},
		}}}}
		pod.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "volume", MountPath: "/volume"}}
	})
	ctx := context.Background()
	maps := shared.client.CoreV1().ConfigMaps(namespace)
	change := &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "switch"}}
	if _, err := maps.Create(ctx, change, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	becomes := func(wanted v1.ConditionStatus) {
		t.Helper()
		eventually(t, "readiness "+string(wanted), func() error {
			pod, err := shared.getPod(namespace, "probed")
			if err == nil && (pod.Status.Phase != v1.PodRunning || condition(pod, v1.PodReady) != wanted) {
				err = fmt.Errorf("it is %s and ready %s", pod.Status.Phase, condition(pod, v1.PodReady))
			}
			return err
		})
	}
	becomes(v1.ConditionFalse)
	for _, data := range []map[string]string{{"ready": ""}, nil} {
		change.Data = data
		if _, err := maps.Update(ctx, change, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		becomes(map[bool]v1.ConditionStatus{true: v1.ConditionTrue, false: v1.ConditionFalse}[data != nil])
	}
}
