package command

import (
	"context"
	"fmt"

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

// clientOf makes a client without limits of its own.
func clientOf(kubeconfig string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("the kubeconfig: %w", err)
	}
	config.QPS = -1
	config.Timeout = 0
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
