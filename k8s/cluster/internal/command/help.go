package command

import (
	"fmt"
	"strings"
)

func overview() string {
	var text strings.Builder
	text.WriteString(`cluster: a Kubernetes control plane and one node on this machine, without containers

Usage: cluster COMMAND [--name NAME] [ARGUMENTS]

`)
	for _, v := range verbs() {
		fmt.Fprintf(&text, "  %-12s %s\n", v.name, v.summary)
	}
	text.WriteString(`
A first cluster:

  cluster up --image example.org/echo:v1=/path/to/echo
  cluster exec -- kubectl get pods -A        # or anything else that reads KUBECONFIG
  cluster exec -- curl http://10.245.0.1/    # addresses of the cluster exist only in its network
  cluster down

A cluster lives in process, network and mount namespaces of its own, so several coexist under different names, and
nothing of one is left when it is down. Its state is in ${RINGWAY_CLUSTER_HOME:-/tmp/ringway-cluster}/NAME.
It needs root, Linux 5.13 and nft(8) (k8s/cluster/setup installs it). Images are not pulled: each stands for a local
binary that --image or load-images names.

  10.244.0.1      the node; the API server is on port 6443
  10.244.0.0/16   pods
  10.96.0.0/16    Services
  10.245.0.0/24   local to the node, for gateways to listen on (--pool)
  10.246.0.0/24   Services of type LoadBalancer (--lb-pool)

Run "cluster COMMAND --help" for more.
`)
	return text.String()
}

// explanations are what "cluster COMMAND --help" tells beside the flags.
var explanations = map[string]string{
	"up": `Starts etcd, the API server, the controllers, kube-proxy and the node agent, waits until all of them answer, applies
manifests, and prints the kubeconfig's path. What runs does not depend on this command or its terminal. It fails, with
the end of the log of what did not start, when the cluster is up already or does not get ready.`,
	"down": `Kills every process of the cluster, whatever it was started by. Their network and mounts go with them. Then it
removes the cluster's folder. A cluster that is not up is no error.`,
	"kubeconfig": `Prints the path of a kubeconfig with all rights. Its server is an address of the cluster's network, so use it
with "cluster exec".`,
	"exec": `Runs a command in the cluster's network, process and mount namespaces, with KUBECONFIG set and in the current folder.
Its standard streams are yours, signals are forwarded, and its exit status becomes this command's. With --pod it runs in
the network of a running pod. It ends with the cluster.`,
	"load-images": `Maps image names to local binaries, beside those named before, also while the cluster runs. A container of the image
runs the binary at /BASENAME of a root folder of its own, in which /usr and /lib are this machine's. A name without a
tag stands for all tags. Pods that wait for an image start within a second; running ones keep their binary until
they restart.`,
	"logs":   `Prints the log of etcd, apiserver, controller-manager, proxy, agent or supervisor.`,
	"status": `Shows each component with its state, and each pod with a process. Fails when the cluster is not up.`,
	"kill": `Kills etcd, apiserver, controller-manager, proxy or agent with SIGKILL and keeps it down until "cluster start". Killing
the agent kills the pods' processes; it starts them again when it is back.`,
	"start": `Starts a component that "cluster kill" ended, with its data as it was, and waits until it answers. With the API server
the controllers and kube-proxy start anew, so that nothing waits out the pauses that an outage makes longer.`,
}
