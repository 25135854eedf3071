// Package nodenet makes the cluster's network: the node's own interfaces and routes, and one virtual cable a pod.
// It works in the network namespace it is called in and never touches another one's configuration.
package nodenet

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringway.dev/cluster/internal/state"
)

// anchorName is a bridge without ports: it carries the node's address, and the routes of ranges that kube-proxy
// translates. Without a route a packet ends before it reaches the hook that would translate it.
const anchorName = "node0"

// SetUpNode prepares the network namespace of a new node.
func SetUpNode(settings state.Settings) error {
	if err := allowForwarding(); err != nil {
		return err
	}
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("the loopback interface: %w", err)
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return fmt.Errorf("the loopback interface: %w", err)
	}
	anchor := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: anchorName}}
	if err := netlink.LinkAdd(anchor); err != nil {
		return fmt.Errorf("the bridge %s: %w", anchorName, err)
	}
	address := &netlink.Addr{IPNet: single(state.NodeAddress)}
	if err := netlink.AddrAdd(anchor, address); err != nil {
		return fmt.Errorf("the node's address: %w", err)
	}
	if err := netlink.LinkSetUp(anchor); err != nil {
		return fmt.Errorf("the bridge %s: %w", anchorName, err)
	}
	for _, prefix := range []netip.Prefix{netip.MustParsePrefix(state.ServiceRange), settings.LoadBalancerPool} {
		if err := addRoute(anchor, network(prefix), netlink.SCOPE_LINK); err != nil {
			return err
		}
	}
	return addLocal(loopback, settings.Pool)
}

// allowForwarding makes the namespace a router that takes packets from any side.
func allowForwarding() error {
	for name, value := range map[string]string{
		"ip_forward":                    "1",
		"conf/all/rp_filter":            "0",
		"conf/default/rp_filter":        "0",
		"conf/all/send_redirects":       "0",
		"conf/default/send_redirects":   "0",
		"conf/all/accept_redirects":     "0",
		"conf/default/accept_redirects": "0",
	} {
		if err := os.WriteFile(filepath.Join("/proc/sys/net/ipv4", name), []byte(value), 0); err != nil {
			return fmt.Errorf("setting net/ipv4/%s (is /proc/sys writable?): %w", name, err)
		}
	}
	return nil
}

func addRoute(link netlink.Link, to *net.IPNet, scope netlink.Scope) error {
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: to, Scope: scope, Src: net.ParseIP(state.NodeAddress)}
	if err := netlink.RouteAdd(route); err != nil {
		return fmt.Errorf("a route to %s: %w", to, err)
	}
	return nil
}

// addLocal makes every address of a range one of the node's own, on which a process may listen.
func addLocal(loopback netlink.Link, pool netip.Prefix) error {
	route := &netlink.Route{
		LinkIndex: loopback.Attrs().Index,
		Dst:       network(pool),
		Table:     unix.RT_TABLE_LOCAL,
		Type:      unix.RTN_LOCAL,
		Scope:     netlink.SCOPE_HOST,
	}
	if err := netlink.RouteAdd(route); err != nil {
		return fmt.Errorf("the address pool %s: %w", pool, err)
	}
	return nil
}

func network(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())}
}

func single(address string) *net.IPNet {
	return &net.IPNet{IP: net.ParseIP(address).To4(), Mask: net.CIDRMask(32, 32)}
}
