// Package lb gives Services of type LoadBalancer addresses of a pool. kube-proxy does the rest: it translates what is
// sent to those addresses. The Services themselves are the only memory, so a restart changes nothing.
package lb

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"time"

	"k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// Class is the load balancer class of Services that want an address from here and from nowhere else. Services
// without a class get one too.
const Class = "ringway.dev/pool"

// retry is the pause before a Service that could not get what it wants is looked at again.
const retry = time.Second

// key names a Service.
type key = types.NamespacedName

// Controller hands out the addresses of one pool.
type Controller struct {
	pool     netip.Prefix
	client   kubernetes.Interface
	services listers.ServiceLister
	queue    workqueue.TypedDelayingInterface[key]
	// given holds what the lister may not show yet.
	given map[key]netip.Addr
	// said is the last complaint about each Service, so that none is repeated.
	said map[key]string
}

// New makes a controller that watches through the factory, which the caller starts after it.
func New(pool netip.Prefix, client kubernetes.Interface, factory informers.SharedInformerFactory) (*Controller, error) {
	c := &Controller{
		pool:     pool,
		client:   client,
		services: factory.Core().V1().Services().Lister(),
		queue:    workqueue.NewTypedDelayingQueue[key](),
		given:    map[key]netip.Addr{},
		said:     map[key]string{},
	}
	_, err := factory.Core().V1().Services().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.enqueue,
		UpdateFunc: func(_, object any) { c.enqueue(object) },
		DeleteFunc: c.enqueue,
	})
	if err != nil {
		return nil, fmt.Errorf("watching Services: %w", err)
	}
	return c, nil
}

func (c *Controller) enqueue(object any) {
	name, err := cache.DeletionHandlingObjectToName(object)
	if err == nil {
		c.queue.Add(key{Namespace: name.Namespace, Name: name.Name})
	}
}

// Run works until ctx ends. The factory's cache of Services must be filled, or it would give away addresses in use.
func (c *Controller) Run(ctx context.Context) {
	go func() {
		<-ctx.Done()
		c.queue.ShutDown()
	}()
	for {
		name, over := c.queue.Get()
		if over {
			return
		}
		if err := c.sync(ctx, name); err != nil {
			c.complain(name, err)
			c.queue.AddAfter(name, retry)
		} else {
			delete(c.said, name)
		}
		c.queue.Done(name)
	}
}

func (c *Controller) complain(name key, err error) {
	if c.said[name] != err.Error() {
		log.Printf("Service %s: %v", name, err)
	}
	c.said[name] = err.Error()
}

func (c *Controller) sync(ctx context.Context, name key) error {
	service, err := c.services.Services(name.Namespace).Get(name.Name)
	if apierrors.IsNotFound(err) {
		delete(c.given, name)
		return nil
	}
	if err != nil {
		return err
	}
	if !ours(service) {
		delete(c.given, name)
		return c.take(ctx, service)
	}
	has, hasOne := addressOf(service, c.pool)
	wants, err := c.wanted(service)
	if err != nil {
		return err
	}
	switch {
	case hasOne && (!wants.IsValid() || wants == has):
		c.given[name] = has
		return nil
	case !wants.IsValid():
		if wants, err = c.lowestFree(name); err != nil {
			return err
		}
	case c.inUse(name)[wants]:
		return fmt.Errorf("spec.loadBalancerIP %s belongs to another Service", wants)
	}
	if err := c.write(ctx, service, []v1.LoadBalancerIngress{{IP: wants.String()}}); err != nil {
		return err
	}
	c.given[name] = wants
	return nil
}

func ours(service *v1.Service) bool {
	class := service.Spec.LoadBalancerClass
	return service.Spec.Type == v1.ServiceTypeLoadBalancer && service.DeletionTimestamp == nil && (class == nil || *class == Class)
}

// take removes an address of the pool from a Service that may have none any more.
func (c *Controller) take(ctx context.Context, service *v1.Service) error {
	if _, has := addressOf(service, c.pool); !has || service.DeletionTimestamp != nil {
		return nil
	}
	return c.write(ctx, service, nil)
}

func (c *Controller) write(ctx context.Context, service *v1.Service, ingress []v1.LoadBalancerIngress) error {
	service = service.DeepCopy()
	service.Status.LoadBalancer.Ingress = ingress
	_, err := c.client.CoreV1().Services(service.Namespace).UpdateStatus(ctx, service, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// addressOf gives the address of the pool that a Service has.
func addressOf(service *v1.Service, pool netip.Prefix) (netip.Addr, bool) {
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		address, err := netip.ParseAddr(ingress.IP)
		if err == nil && pool.Contains(address) {
			return address, true
		}
	}
	return netip.Addr{}, false
}

// wanted gives the address that a Service asks for, the invalid one if it does not care.
func (c *Controller) wanted(service *v1.Service) (netip.Addr, error) {
	text := service.Spec.LoadBalancerIP
	if text == "" {
		return netip.Addr{}, nil
	}
	address, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("spec.loadBalancerIP: %w", err)
	}
	if !c.pool.Contains(address) {
		return netip.Addr{}, fmt.Errorf("spec.loadBalancerIP %s is not in the pool %s", address, c.pool)
	}
	return address, nil
}

// inUse gives the addresses of all Services but one.
func (c *Controller) inUse(except key) map[netip.Addr]bool {
	used := map[netip.Addr]bool{}
	for name, address := range c.given {
		if name != except {
			used[address] = true
		}
	}
	services, err := c.services.List(labels.Everything())
	if err != nil {
		return used
	}
	for _, service := range services {
		name := key{Namespace: service.Namespace, Name: service.Name}
		if address, has := addressOf(service, c.pool); has && name != except && ours(service) {
			used[address] = true
		}
	}
	return used
}

func (c *Controller) lowestFree(name key) (netip.Addr, error) {
	used := c.inUse(name)
	// The first and the last address of a range name the network and everybody in it.
	for address := c.pool.Addr().Next(); c.pool.Contains(address.Next()); address = address.Next() {
		if !used[address] {
			return address, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no address of the pool %s is free", c.pool)
}
