package tests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestExecPassesStreamsEnvironmentAndStatusOn(t *testing.T) {
	command := shared.command("exec", "--", "sh", "-c", `cat; echo "$KUBECONFIG"; echo wrong >&2; exit 7`)
	var stdout, stderr bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader("given\n"), &stdout, &stderr
	err := command.Run()
	if status := command.ProcessState.ExitCode(); status != 7 {
		t.Errorf("the status is %d: %v", status, err)
	}
	if want := "given\n" + shared.folder.Kubeconfig() + "\n"; stdout.String() != want {
		t.Errorf("it printed %q, not %q", stdout.String(), want)
	}
	if stderr.String() != "wrong\n" {
		t.Errorf("its errors are %q", stderr.String())
	}
	if result := shared.run("exec", "--", "no-such-command"); result.status != 127 {
		t.Errorf("a missing command has the status %d", result.status)
	}
}

func TestExecForwardsSignals(t *testing.T) {
	command := shared.command("exec", "--", "sh", "-c", `trap 'echo caught; exit 5' TERM; echo up; while :; do sleep 0.05; done`)
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 3)
	if _, err := out.Read(line); err != nil || string(line) != "up\n" {
		t.Fatalf("it said %q: %v", line, err)
	}
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest := make([]byte, 16)
	count, err := out.Read(rest)
	if string(rest[:count]) != "caught\n" {
		t.Errorf("after SIGTERM it said %q: %v", rest[:count], err)
	}
	_ = command.Wait()
	if status := command.ProcessState.ExitCode(); status != 5 {
		t.Errorf("its status is %d", status)
	}
}

func TestACommandInTheClusterSteersIt(t *testing.T) {
	shared.must(t, "exec", "--", binary, "kill", "proxy")
	if text := shared.must(t, "exec", "--", binary, "status"); !strings.Contains(text, "held down") {
		t.Errorf("the proxy was killed and the status is\n%s", text)
	}
	shared.must(t, "exec", "--", binary, "start", "proxy")
	if text := shared.must(t, "exec", "--", binary, "status"); strings.Contains(text, "held down") {
		t.Errorf("the proxy was started and the status is\n%s", text)
	}
}

func TestACommandEndsWithAKilledExec(t *testing.T) {
	command := shared.command("exec", "--", "sh", "-c", `echo $$; exec sleep 1000`)
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 16)
	count, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	pid := strings.TrimSpace(string(line[:count]))
	eventually(t, "the supervisor's hold on the command", func() error {
		if _, err := strconv.Atoi(pid); err != nil {
			return err
		}
		return runs(pid)
	})
	if err := command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = command.Wait()
	eventually(t, "the end of the command", func() error {
		if runs(pid) == nil {
			return fmt.Errorf("process %s still runs", pid)
		}
		return nil
	})
}

// runs tells whether a process, as the node numbers it, is there and no zombie.
func runs(pid string) error {
	result := shared.run("exec", "--", "grep", "^State:.[RSD]", "/proc/"+pid+"/status")
	if result.status != 0 {
		return errors.New(result.stderr)
	}
	return nil
}

func TestKilledComponentsComeBackWithTheirData(t *testing.T) {
	namespace := shared.namespace(t)
	ctx := context.Background()
	shared.echoDeployment(t, namespace, 1)
	shared.echoService(t, namespace, "echo", v1.ServiceTypeLoadBalancer, nil)
	shared.readyPods(t, namespace, "echo", 1)
	address := shared.loadBalancer(t, namespace, "echo")
	eventually(t, "the Service", func() error { _, err := shared.get("", address); return err })
	for _, component := range []string{"apiserver", "etcd"} {
		shared.must(t, "kill", component)
		if text := shared.must(t, "status"); !strings.Contains(text, "held down") {
			t.Errorf("%s was killed and the status is\n%s", component, text)
		}
		if err := shared.makeConfigMap(namespace, "without-"+component); err == nil {
			t.Errorf("an object was created without %s", component)
		}
		if _, err := shared.get("", address); err != nil {
			t.Errorf("without %s: %v", component, err)
		}
		shared.must(t, "start", component)
		if _, err := shared.client.AppsV1().Deployments(namespace).Get(ctx, "echo", metav1.GetOptions{}); err != nil {
			t.Errorf("after the restart of %s: %v", component, err)
		}
	}
	scale, err := shared.client.AppsV1().Deployments(namespace).GetScale(ctx, "echo", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	scale.Spec.Replicas = 2
	if _, err := shared.client.AppsV1().Deployments(namespace).UpdateScale(ctx, "echo", scale, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	shared.readyPods(t, namespace, "echo", 2)
	if again := shared.loadBalancer(t, namespace, "echo"); again != address {
		t.Errorf("the load balancer address changed from %s to %s", address, again)
	}
}

// makeConfigMap tries, for a moment, to create an object.
func (c *cluster) makeConfigMap(namespace, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	object := &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
	_, err := c.client.CoreV1().ConfigMaps(namespace).Create(ctx, object, metav1.CreateOptions{})
	return err
}

func TestPodsAndAddressesSurviveAKilledAgent(t *testing.T) {
	namespace := shared.namespace(t)
	shared.echoDeployment(t, namespace, 2)
	shared.echoService(t, namespace, "echo", v1.ServiceTypeLoadBalancer, nil)
	shared.readyPods(t, namespace, "echo", 2)
	address := shared.loadBalancer(t, namespace, "echo")
	shared.must(t, "kill", "agent")
	eventually(t, "the end of the pods' processes", func() error {
		if result := shared.run("exec", "--", "pgrep", "-f", "echo-basic"); result.status == 0 {
			return fmt.Errorf("these run: %s", result.stdout)
		}
		return nil
	})
	shared.must(t, "start", "agent")
	eventually(t, "the Service", func() error { _, err := shared.get("", address); return err })
	for _, pod := range shared.readyPods(t, namespace, "echo", 2) {
		if pod.Status.ContainerStatuses[0].RestartCount == 0 {
			t.Errorf("pod %s was not restarted", pod.Name)
		}
	}
	if again := shared.loadBalancer(t, namespace, "echo"); again != address {
		t.Errorf("the load balancer address changed from %s to %s", address, again)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for _, attempt := range []struct {
		arguments []string
		status    int
		message   string
	}{
		{[]string{"up", "--name", "Bad_Name"}, 2, `"Bad_Name" cannot name a cluster`},
		{[]string{"up", "--name", "new", "--pool", "10.96.1.0/24"}, 2, "overlaps with the Service range"},
		{[]string{"up", "--name", "new", "--pool", "10.245.0.1/24"}, 2, "want an IPv4 network"},
		{[]string{"up", "--name", "new", "--lb-pool", "10.245.0.0/25"}, 2, "overlap"},
		{[]string{"up", "--name", "new", "--crds", "/no/such/folder"}, 2, "/no/such/folder is neither"},
		{[]string{"up", "--name", "new", "--image", "a=/no/such/file"}, 2, "/no/such/file"},
		{[]string{"up", "--name", "new", "--image", "a"}, 2, "want IMAGE=PATH"},
		{[]string{"up", "--name", "shared"}, 1, "shared is up already"},
		{[]string{"up", "extra"}, 2, `unexpected argument "extra"`},
		{[]string{"exec", "--name", "absent", "--", "true"}, 1, "absent: the cluster is not up"},
		{[]string{"exec", "--name", "shared", "--pod", "default/none", "--", "true"}, 1, "no process of pod default/none runs"},
		{[]string{"kill", "--name", "shared", "scheduler"}, 2, `there is no component "scheduler"`},
		{[]string{"exec", "--name", "shared", "--", binary, "down"}, 1, "this runs in shared itself"},
		{[]string{"fly"}, 2, `there is no command "fly"`},
	} {
		command := shared.command("")
		command.Args = append([]string{binary}, attempt.arguments...)
		text, err := command.CombinedOutput()
		if status := command.ProcessState.ExitCode(); status != attempt.status || !strings.Contains(string(text), attempt.message) {
			t.Errorf("cluster %v: status %d, %v\n%s", attempt.arguments, status, err, text)
		}
	}
	if _, err := os.Stat(strings.TrimSuffix(shared.folder.Path, "shared") + "new"); err == nil {
		t.Error("a refused cluster has a folder")
	}
}
