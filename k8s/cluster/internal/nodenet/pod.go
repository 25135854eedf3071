package nodenet

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"ringway.dev/cluster/internal/space"
	"ringway.dev/cluster/internal/state"
)

// insideName is what a pod calls its interface.
const insideName = "eth0"

// NewPod makes a network namespace with one address, cabled to the node it is called on. Everything a pod sends goes
// through the node, so Services work between any two pods with their own addresses as sources. Closing the file after
// the last process ended removes namespace, cable and routes.
func NewPod(address netip.Addr, outsideName string) (*os.File, error) {
	namespace, err := space.NewNetwork()
	if err != nil {
		return nil, err
	}
	if err := cable(namespace, address, outsideName); err != nil {
		namespace.Close()
		return nil, fmt.Errorf("the network of a pod: %w", err)
	}
	return namespace, nil
}

func cable(namespace *os.File, address netip.Addr, outsideName string) error {
	pair := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: outsideName},
		PeerName:      insideName,
		PeerNamespace: netlink.NsFd(namespace.Fd()),
	}
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("the cable %s: %w", outsideName, err)
	}
	inside, err := netlink.NewHandleAt(netns.NsHandle(namespace.Fd()))
	if err != nil {
		return fmt.Errorf("a netlink socket in the namespace: %w", err)
	}
	defer inside.Close()
	if err := configure(inside, address); err != nil {
		return err
	}
	outside, err := netlink.LinkByName(outsideName)
	if err != nil {
		return fmt.Errorf("the cable %s: %w", outsideName, err)
	}
	if err := netlink.LinkSetUp(outside); err != nil {
		return fmt.Errorf("the cable %s: %w", outsideName, err)
	}
	return addRoute(outside, single(address.String()), netlink.SCOPE_LINK)
}

// configure gives the pod's side its address, a route to the node and, through it, to everywhere else.
func configure(inside *netlink.Handle, address netip.Addr) error {
	loopback, err := inside.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("the pod's loopback: %w", err)
	}
	if err := inside.LinkSetUp(loopback); err != nil {
		return fmt.Errorf("the pod's loopback: %w", err)
	}
	link, err := inside.LinkByName(insideName)
	if err != nil {
		return fmt.Errorf("the pod's interface: %w", err)
	}
	if err := inside.AddrAdd(link, &netlink.Addr{IPNet: single(address.String())}); err != nil {
		return fmt.Errorf("the pod's address: %w", err)
	}
	if err := inside.LinkSetUp(link); err != nil {
		return fmt.Errorf("the pod's interface: %w", err)
	}
	node := single(state.NodeAddress)
	toNode := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: node, Scope: netlink.SCOPE_LINK}
	if err := inside.RouteAdd(toNode); err != nil {
		return fmt.Errorf("the pod's route to the node: %w", err)
	}
	elsewhere := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: node.IP}
	if err := inside.RouteAdd(elsewhere); err != nil {
		return fmt.Errorf("the pod's default route: %w", err)
	}
	return nil
}
