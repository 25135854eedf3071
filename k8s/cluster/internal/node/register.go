package node

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
	"k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringway.dev/cluster/internal/state"
)

// podsMax is how many pods the node claims to take.
const podsMax = 250

// Register creates the node, or takes over the one an agent before created, and marks it ready.
func (a *Agent) Register(ctx context.Context) error {
	nodes := a.client.CoreV1().Nodes()
	node, err := nodes.Create(ctx, describeNode(), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		node, err = nodes.Get(ctx, state.NodeName, metav1.GetOptions{})
	}
	if err != nil {
		return fmt.Errorf("creating the node: %w", err)
	}
	node.Status = describeNode().Status
	a.node, err = nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("the node's status: %w", err)
	}
	return nil
}

func describeNode() *v1.Node {
	capacity := v1.ResourceList{
		v1.ResourceCPU:    *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI),
		v1.ResourceMemory: *resource.NewQuantity(memory(), resource.BinarySI),
		v1.ResourcePods:   *resource.NewQuantity(podsMax, resource.DecimalSI),
	}
	return &v1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: state.NodeName,
			Labels: map[string]string{
				v1.LabelHostname:   state.NodeName,
				v1.LabelOSStable:   runtime.GOOS,
				v1.LabelArchStable: runtime.GOARCH,
			},
		},
		Status: v1.NodeStatus{
			Capacity:    capacity,
			Allocatable: capacity,
			Addresses: []v1.NodeAddress{
				{Type: v1.NodeInternalIP, Address: state.NodeAddress},
				{Type: v1.NodeHostName, Address: state.NodeName},
			},
			DaemonEndpoints: v1.NodeDaemonEndpoints{KubeletEndpoint: v1.DaemonEndpoint{Port: state.AgentPort}},
			NodeInfo:        v1.NodeSystemInfo{OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH, KubeletVersion: "v1.37.2"},
			Conditions:      nodeConditions(now()),
		},
	}
}

func nodeConditions(now metav1.Time) []v1.NodeCondition {
	condition := func(kind v1.NodeConditionType, status v1.ConditionStatus, reason string) v1.NodeCondition {
		return v1.NodeCondition{Type: kind, Status: status, Reason: reason, LastHeartbeatTime: now, LastTransitionTime: now}
	}
	return []v1.NodeCondition{
		condition(v1.NodeReady, v1.ConditionTrue, "AgentReady"),
		condition(v1.NodeMemoryPressure, v1.ConditionFalse, "NotWatched"),
		condition(v1.NodeDiskPressure, v1.ConditionFalse, "NotWatched"),
		condition(v1.NodePIDPressure, v1.ConditionFalse, "NotWatched"),
	}
}

// memory is the machine's memory in bytes.
func memory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 1 << 30
	}
	return int64(info.Totalram) * int64(info.Unit)
}
