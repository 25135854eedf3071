package state

import (
	"fmt"
	"net/netip"
	"path/filepath"
)

// Fixed addresses and names of every cluster. Clusters have network namespaces of their own, so they never meet.
const (
	// NodeName is the name of the only node.
	NodeName = "node1"
	// NodeAddress is the node's own address, which the API server and the node agent listen on.
	NodeAddress = "10.244.0.1"
	// APIPort is the API server's port on NodeAddress.
	APIPort = 6443
	// AgentPort is the node agent's port on NodeAddress, from which the API server reads logs.
	AgentPort = 10250
	// PodRange is where pods get their addresses.
	PodRange = "10.244.0.0/16"
	// ServiceRange is where Services get their cluster addresses.
	ServiceRange = "10.96.0.0/16"
	// APIServiceAddress is the cluster address of the Service `kubernetes`.
	APIServiceAddress = "10.96.0.1"
)

// Settings are what `cluster up` was asked for.
type Settings struct {
	// Pool is a range of addresses local to the node, on which a gateway may listen.
	Pool netip.Prefix `json:"pool"`
	// LoadBalancerPool is the range from which Services of type LoadBalancer get addresses.
	LoadBalancerPool netip.Prefix `json:"loadBalancerPool"`
	// Manifests is a folder of manifests applied at the start; empty for none.
	Manifests string `json:"manifests,omitempty"`
}

// Check refuses ranges that are no IPv4 networks or overlap with those of the cluster itself.
func (s Settings) Check() error {
	taken := map[string]netip.Prefix{
		"the pod range":     netip.MustParsePrefix(PodRange),
		"the Service range": netip.MustParsePrefix(ServiceRange),
		"loopback":          netip.MustParsePrefix("127.0.0.0/8"),
	}
	for flag, prefix := range map[string]netip.Prefix{"--pool": s.Pool, "--lb-pool": s.LoadBalancerPool} {
		if !prefix.Addr().Is4() || prefix != prefix.Masked() {
			return fmt.Errorf("%s %s: want an IPv4 network such as 10.245.0.0/24", flag, prefix)
		}
		for what, other := range taken {
			if prefix.Overlaps(other) {
				return fmt.Errorf("%s %s overlaps with %s %s", flag, prefix, what, other)
			}
		}
	}
	if s.Pool.Overlaps(s.LoadBalancerPool) {
		return fmt.Errorf("--pool %s and --lb-pool %s overlap", s.Pool, s.LoadBalancerPool)
	}
	return nil
}

func (f Folder) settingsPath() string { return filepath.Join(f.Path, "settings.json") }

// WriteSettings keeps the settings for the supervisor and the node agent.
func (f Folder) WriteSettings(settings Settings) error { return writeJSON(f.settingsPath(), settings) }

// ReadSettings gives what WriteSettings kept.
func (f Folder) ReadSettings() (Settings, error) {
	var settings Settings
	if err := readJSON(f.settingsPath(), &settings); err != nil {
		return Settings{}, fmt.Errorf("the cluster's settings: %w", err)
	}
	return settings, nil
}
