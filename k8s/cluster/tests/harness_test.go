// Package tests runs the built binary as its users do: it brings clusters up, looks at them from outside and from their
// own network, and checks that nothing is left of them. It needs what the binary needs: root and nft.
package tests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"ringway.dev/cluster/internal/space"
	"ringway.dev/cluster/internal/state"
)

const (
	// patience bounds every wait; nothing here should need a tenth of it.
	patience = 60 * time.Second
	look     = 50 * time.Millisecond

	echoImage  = "registry.k8s.io/gateway-api/conformance/echo-basic:v0.1.0"
	shellImage = "example.org/sh:v1"
)

// binary and echo are what the build left behind.
var binary, echo string

// shared is the cluster of all tests that do not end one.
var shared *cluster

func TestMain(m *testing.M) {
	status, err := runAll(m)
	if err != nil {
		log.Fatal(err)
	}
	os.Exit(status)
}

func runAll(m *testing.M) (int, error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("these tests make namespaces: run them as root")
	}
	built, err := exec.Command("../build").CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("../build: %w\n%s", err, built)
	}
	out, err := filepath.Abs("../../../target/k8s")
	if err != nil {
		return 0, err
	}
	binary, echo = filepath.Join(out, "cluster"), filepath.Join(out, "echo-basic")
	home, err := os.MkdirTemp("", "ringway-cluster-test")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(home)
	if err := os.Chmod(home, 0o711); err != nil {
		return 0, err
	}
	os.Setenv("RINGWAY_CLUSTER_HOME", home)
	shared = &cluster{name: "shared"}
	defer shared.run("down")
	if err := shared.up(); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// cluster is one cluster under test.
type cluster struct {
	name   string
	folder state.Folder
	config *rest.Config
	client kubernetes.Interface
}

// output is what a command printed and how it ended.
type output struct {
	stdout, stderr string
	status         int
}

// command makes a command of the binary for this cluster.
func (c *cluster) command(verb string, arguments ...string) *exec.Cmd {
	return exec.Command(binary, append([]string{verb, "--name", c.name}, arguments...)...)
}

func (c *cluster) run(verb string, arguments ...string) output {
	command := c.command(verb, arguments...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	status := command.ProcessState.ExitCode()
	if err != nil && status == 0 {
		status = -1
	}
	return output{stdout: stdout.String(), stderr: stderr.String(), status: status}
}

// must runs a command that has to succeed and gives what it printed.
func (c *cluster) must(t *testing.T, verb string, arguments ...string) string {
	t.Helper()
	result := c.run(verb, arguments...)
	if result.status != 0 {
		t.Fatalf("cluster %s %v: status %d\n%s%s", verb, arguments, result.status, result.stdout, result.stderr)
	}
	return result.stdout
}

func (c *cluster) up(arguments ...string) error {
	arguments = append(arguments, "--image", echoImage+"="+echo, "--image", "example.org/sh=/bin/sh")
	if result := c.run("up", arguments...); result.status != 0 {
		return fmt.Errorf("cluster up: status %d\n%s%s", result.status, result.stdout, result.stderr)
	}
	return c.connect()
}

// connect makes a client whose connections begin in the cluster's network.
func (c *cluster) connect() error {
	folder, err := state.Locate(c.name)
	if err != nil {
		return err
	}
	c.folder = folder
	c.config, err = clientcmd.BuildConfigFromFlags("", folder.Kubeconfig())
	if err != nil {
		return err
	}
	c.config.QPS = -1
	c.config.Dial = c.dial
	c.client, err = kubernetes.NewForConfig(c.config)
	return err
}

func (c *cluster) dial(ctx context.Context, network, address string) (net.Conn, error) {
	identity, err := c.folder.Supervisor()
	if err != nil {
		return nil, err
	}
	var connection net.Conn
	err = space.OnThread(func() error {
		if err := space.JoinProcess(identity.PID, space.Network); err != nil {
			return err
		}
		var dialer net.Dialer
		connection, err = dialer.DialContext(ctx, network, address)
		return err
	})
	return connection, err
}

// get requests an address from the node, or from a pod if one is given, and gives the answer's body.
func (c *cluster) get(pod, address string) (string, error) {
	arguments := []string{}
	if pod != "" {
		arguments = append(arguments, "--pod", pod)
	}
	result := c.run("exec", append(arguments, "--", "curl", "-sS", "--fail", "--max-time", "5", "http://"+address)...)
	if result.status != 0 {
		return "", fmt.Errorf("http://%s from %q: %s", address, pod, strings.TrimSpace(result.stderr))
	}
	return result.stdout, nil
}

// eventually waits until a check passes.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(look) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}
