package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"ringway.dev/cluster/internal/lb"
	"ringway.dev/cluster/internal/node"
	"ringway.dev/cluster/internal/state"
)

// runAgent is the node's one process beside kube-proxy: the node agent and the load balancer controller.
func runAgent(folder state.Folder) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	settings, err := folder.ReadSettings()
	if err != nil {
		return err
	}
	client, err := clientOf(folder.Key("agent.kubeconfig"))
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(dropManagedFields))
	factory.Core().V1().Secrets().Informer()
	factory.Core().V1().ConfigMaps().Informer()
	agent, err := node.New(folder, client, factory)
	if err != nil {
		return err
	}
	controller, err := lb.New(settings.LoadBalancerPool, client, factory)
	if err != nil {
		return err
	}
	if err := agent.Register(ctx); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("watching %s: it was cut short", kind)
		}
	}
	if err := agent.Watch(ctx, factory); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	go controller.Run(ctx)
	return agent.Serve()
}

const (
	// dialPause is how often a connection to an API server that is away is tried again.
	dialPause = 100 * time.Millisecond
	// dialMax is how long that goes on.
	dialMax = 10 * time.Minute
)

// dialPatiently connects as soon as somebody listens. Watches of a client that is refused pause for up to 30 s before
// they try again, and a node that sleeps for so long after an outage would make every test of one slow.
func dialPatiently(ctx context.Context, network, address string) (net.Conn, error) {
	var dialer net.Dialer
	for deadline := time.Now().Add(dialMax); ; {
		connection, err := dialer.DialContext(ctx, network, address)
		if !errors.Is(err, unix.ECONNREFUSED) || time.Now().After(deadline) {
			return connection, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(dialPause):
		}
	}
}

// clientOf makes a client without limits of its own.
func clientOf(kubeconfig string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("the kubeconfig: %w", err)
	}
	config.QPS = -1
	config.Dial = dialPatiently
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("a client of the API server: %w", err)
	}
	return client, nil
}

func dropManagedFields(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil {
		accessor.SetManagedFields(nil)
	}
	return object, nil
}
