package supervisor

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"k8s.io/client-go/rest"

	"ringway.dev/cluster/internal/state"
)

// Names of the components, as commands and logs call them.
const (
	Etcd        = "etcd"
	APIServer   = "apiserver"
	Controllers = "controller-manager"
	Proxy       = "proxy"
	Agent       = "agent"
)

const (
	etcdAddress  = "127.0.0.1:2379"
	proxyHealth  = "127.0.0.1:10256"
	managerPort  = 10257
	proxyMetrics = "127.0.0.1:10249"
)

// controllers are those of the controller manager that a gateway's test cluster needs.
const controllers = "deployment-controller,replicaset-controller,daemonset-controller,statefulset-controller,job-controller," +
	"endpointslice-controller,endpointslice-mirroring-controller,namespace-controller,garbage-collector-controller," +
	"serviceaccount-controller,serviceaccount-token-controller,root-ca-certificate-publisher-controller," +
	"disruption-controller,clusterrole-aggregation-controller"

// inOrder gives the components in the order in which they start.
func inOrder(folder state.Folder, reaper *reaper, client *rest.Config) []*component {
	components := []*component{
		{name: Etcd, args: etcdArgs(folder), ready: plainHealth("http://" + etcdAddress + "/health")},
		{name: APIServer, args: apiServerArgs(folder), ready: apiHealth(client)},
		{name: Controllers, args: controllerArgs(folder), ready: secureHealth(fmt.Sprintf("127.0.0.1:%d", managerPort))},
		{name: Proxy, args: proxyArgs(folder), ready: plainHealth("http://" + proxyHealth + "/healthz")},
		{name: Agent, args: []string{folder.Path}, ready: secureHealth(fmt.Sprintf("%s:%d", state.NodeAddress, state.AgentPort))},
	}
	for _, component := range components {
		component.folder, component.reaper = folder, reaper
	}
	return components
}

func etcdArgs(folder state.Folder) []string {
	return []string{
		"--name=" + state.NodeName,
		"--data-dir=" + folder.Data(Etcd),
		"--listen-client-urls=http://" + etcdAddress,
		"--advertise-client-urls=http://" + etcdAddress,
		"--listen-peer-urls=http://127.0.0.1:2380",
		"--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=" + state.NodeName + "=http://127.0.0.1:2380",
		// A test cluster's data need not survive the machine, and disks differ more than gateways do.
		"--unsafe-no-fsync",
		"--log-level=warn",
	}
}

func apiServerArgs(folder state.Folder) []string {
	return []string{
		"--etcd-servers=http://" + etcdAddress,
		"--bind-address=0.0.0.0",
		"--secure-port=" + strconv.Itoa(state.APIPort),
		"--advertise-address=" + state.NodeAddress,
		"--service-cluster-ip-range=" + state.ServiceRange,
		"--authorization-mode=RBAC",
		"--anonymous-auth=false",
		"--allow-privileged=true",
		"--client-ca-file=" + folder.Key("ca.crt"),
		"--tls-cert-file=" + folder.Key("apiserver.crt"),
		"--tls-private-key-file=" + folder.Key("apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + folder.Key("tokens.pub"),
		"--service-account-signing-key-file=" + folder.Key("tokens.key"),
		"--kubelet-client-certificate=" + folder.Key("apiserver-to-agent.crt"),
		"--kubelet-client-key=" + folder.Key("apiserver-to-agent.key"),
		"--kubelet-certificate-authority=" + folder.Key("ca.crt"),
		"--kubelet-preferred-address-types=InternalIP",
		"--disable-admission-plugins=TaintNodesByCondition",
		// What is measured here is a gateway, not the queues of the API server.
		"--enable-priority-and-fairness=false",
		"--max-requests-inflight=4000",
		"--max-mutating-requests-inflight=2000",
		"--profiling=false",
		"--v=0",
	}
}

func controllerArgs(folder state.Folder) []string {
	return []string{
		"--kubeconfig=" + folder.Key("controllers.kubeconfig"),
		"--authentication-skip-lookup=true",
		"--bind-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(managerPort),
		"--controllers=" + controllers,
		"--leader-elect=false",
		"--root-ca-file=" + folder.Key("ca.crt"),
		"--service-account-private-key-file=" + folder.Key("tokens.key"),
		"--kube-api-qps=2000",
		"--kube-api-burst=4000",
		"--concurrent-deployment-syncs=10",
		"--concurrent-replicaset-syncs=10",
		"--concurrent-namespace-syncs=20",
		"--profiling=false",
		"--v=0",
	}
}

func proxyArgs(folder state.Folder) []string {
	return []string{
		"--kubeconfig=" + folder.Key("proxy.kubeconfig"),
		"--proxy-mode=nftables",
		"--hostname-override=" + state.NodeName,
		"--cluster-cidr=" + state.PodRange,
		"--healthz-bind-address=" + proxyHealth,
		"--metrics-bind-address=" + proxyMetrics,
		// The connection tracking table is the machine's and not this namespace's to size.
		"--conntrack-max-per-core=0",
		"--conntrack-min=0",
		"--iptables-min-sync-period=100ms",
		"--v=0",
	}
}

// plainHealth asks a health address without TLS.
func plainHealth(url string) func(context.Context) error {
	return func(ctx context.Context) error { return ask(ctx, http.DefaultClient, url) }
}

// secureHealth connects to a TLS port: these components listen when they are ready to work.
func secureHealth(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		// Only whether something speaks TLS there matters, and nothing is sent.
		dialer := &tls.Dialer{NetDialer: &net.Dialer{}, Config: &tls.Config{InsecureSkipVerify: true}}
		connection, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return connection.Close()
	}
}

// apiHealth asks the API server as the administrator.
func apiHealth(config *rest.Config) func(context.Context) error {
	return func(ctx context.Context) error {
		client, err := rest.HTTPClientFor(config)
		if err != nil {
			return err
		}
		return ask(ctx, client, config.Host+"/readyz")
	}
}

func ask(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, response.Status)
	}
	return nil
}
