package pki

import (
	"fmt"
	"os"

	"ringway.dev/cluster/internal/state"
)

// mastersGroup is the group that RBAC lets do everything.
const mastersGroup = "system:masters"

// Lay makes every key, certificate and kubeconfig of a new cluster in its folder.
func Lay(folder state.Folder) error {
	authority, err := NewAuthority()
	if err != nil {
		return err
	}
	if err := os.WriteFile(folder.Key("ca.crt"), authority.Certificate(), 0o600); err != nil {
		return fmt.Errorf("the authority's certificate: %w", err)
	}
	private, public, err := SigningKey()
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"tokens.key": private, "tokens.pub": public} {
		if err := os.WriteFile(folder.Key(name), content, 0o600); err != nil {
			return fmt.Errorf("the token key: %w", err)
		}
	}
	if err := authority.layServers(folder); err != nil {
		return err
	}
	return authority.layClients(folder)
}

func (a *Authority) layServers(folder state.Folder) error {
	names := []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"}
	server, err := a.Server(names, []string{state.NodeAddress, state.APIServiceAddress, "127.0.0.1"})
	if err != nil {
		return err
	}
	if err := server.Write(folder.Key("apiserver")); err != nil {
		return err
	}
	agent, err := a.Server([]string{state.NodeName}, []string{state.NodeAddress})
	if err != nil {
		return err
	}
	return agent.Write(folder.Key("agent"))
}

func (a *Authority) layClients(folder state.Folder) error {
	toAgent, err := a.Client("kube-apiserver-kubelet-client", mastersGroup)
	if err != nil {
		return err
	}
	if err := toAgent.Write(folder.Key("apiserver-to-agent")); err != nil {
		return err
	}
	url := fmt.Sprintf("https://%s:%d", state.NodeAddress, state.APIPort)
	for path, identity := range map[string][]string{
		folder.Kubeconfig():                  {"admin", mastersGroup},
		folder.Key("controllers.kubeconfig"): {"system:kube-controller-manager", mastersGroup},
		folder.Key("agent.kubeconfig"):       {"system:node:" + state.NodeName, mastersGroup},
		folder.Key("proxy.kubeconfig"):       {"system:kube-proxy"},
	} {
		pair, err := a.Client(identity[0], identity[1:]...)
		if err != nil {
			return err
		}
		if err := a.WriteKubeconfig(path, folder.Name, url, pair); err != nil {
			return err
		}
	}
	return nil
}
