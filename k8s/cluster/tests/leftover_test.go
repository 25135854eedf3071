package tests

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringway.dev/cluster/internal/state"
)

func TestClustersCoexistAndLeaveNothingBehind(t *testing.T) {
	before := interfaces(t)
	for _, end := range []struct {
		name string
		stop func(*testing.T, *cluster)
	}{
		{"downed", func(t *testing.T, c *cluster) { c.must(t, "down") }},
		{"killed", func(t *testing.T, c *cluster) {
			identity, err := c.folder.Supervisor()
			if err != nil {
				t.Fatal(err)
			}
			if err := identity.Kill(patience); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(end.name, func(t *testing.T) {
			c := &cluster{name: end.name}
			if err := c.up("--crds", "none"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.run("down") })
			namespace := c.namespace(t)
			c.echoDeployment(t, namespace, 2)
			c.readyPods(t, namespace, "echo", 2)
			apart(t, c, namespace)
			spaces := namespaces(t, c)
			end.stop(t, c)
			gone(t, c, spaces)
		})
	}
	if after := interfaces(t); strings.Join(before, " ") != strings.Join(after, " ") {
		t.Errorf("the machine's interfaces changed from %v to %v", before, after)
	}
	killed := &cluster{name: "killed"}
	if _, err := state.Locate(killed.name); err != nil {
		t.Fatal(err)
	}
	if err := killed.up("--crds", "none"); err != nil {
		t.Errorf("a cluster does not come up after its supervisor was killed: %v", err)
	}
	killed.must(t, "down")
}

// apart checks that two clusters see nothing of each other, though their addresses are the same.
func apart(t *testing.T, c *cluster, namespace string) {
	t.Helper()
	ctx := context.Background()
	if _, err := c.client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := shared.client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{}); err == nil {
		t.Errorf("namespace %s of %s is in %s, too", namespace, c.name, shared.name)
	}
}

// namespaces gives the network namespaces of a cluster's node and pods, as links in /proc show them.
func namespaces(t *testing.T, c *cluster) map[string]bool {
	t.Helper()
	identity, err := c.folder.Supervisor()
	if err != nil {
		t.Fatal(err)
	}
	processes, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", identity.PID))
	if err != nil {
		t.Fatal(err)
	}
	spaces := map[string]bool{processes: true}
	hold(t, fmt.Sprintf("/proc/%d/ns/pid", identity.PID))
	for _, process := range inNamespace(t, "pid", map[string]bool{processes: true}) {
		if link, err := os.Readlink(filepath.Join(process, "ns/net")); err == nil {
			spaces[link] = true
			hold(t, filepath.Join(process, "ns/net"))
		}
	}
	// That of the processes, the node's network, and one a pod.
	if len(spaces) != 4 {
		t.Errorf("the cluster has the namespaces %v", spaces)
	}
	return spaces
}

// hold keeps a namespace until the test ends: the kernel gives the number of one that is gone to the next that anybody
// on the machine makes.
func hold(t *testing.T, path string) {
	t.Helper()
	space, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { space.Close() })
}

// inNamespace gives the processes of the machine that are in one of the namespaces.
func inNamespace(t *testing.T, kind string, spaces map[string]bool) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/ns/" + kind)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, link := range links {
		process := filepath.Dir(filepath.Dir(link))
		if space, err := os.Readlink(link); err == nil && spaces[space] && !isZombie(process) {
			found = append(found, process)
		}
	}
	return found
}

// isZombie tells whether a process has ended and only waits for its parent to ask how: it holds nothing any more, and
// how soon the machine's first process asks is not ours to say.
func isZombie(process string) bool {
	content, err := os.ReadFile(filepath.Join(process, "stat"))
	return err == nil && strings.HasPrefix(string(content[strings.LastIndexByte(string(content), ')')+1:]), " Z")
}

// gone checks that nothing of an ended cluster is left but, after a kill, its folder.
func gone(t *testing.T, c *cluster, spaces map[string]bool) {
	t.Helper()
	for _, kind := range []string{"pid", "net"} {
		eventually(t, "the end of all processes", func() error {
			if left := inNamespace(t, kind, spaces); len(left) > 0 {
				return fmt.Errorf("these are left: %v", left)
			}
			return nil
		})
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), c.folder.Path) {
		t.Errorf("mounts are left:\n%s", mounts)
	}
	c.must(t, "down")
	if _, err := os.Stat(c.folder.Path); !os.IsNotExist(err) {
		t.Errorf("the folder is left: %v", err)
	}
}

func interfaces(t *testing.T) []string {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, one := range all {
		names = append(names, one.Name)
	}
	sort.Strings(names)
	return names
}
