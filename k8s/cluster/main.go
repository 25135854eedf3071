// Command cluster brings up a Kubernetes control plane and one node on this machine, without containers, for tests of
// gateways. It is etcd, kube-apiserver, kube-controller-manager, kube-proxy, a node agent and a command line in one
// binary; every process of a cluster is an instance of it. Called by the name kubectl it is that, so that one is at hand.
package main

import (
	"os"
	"path/filepath"
	"runtime"

	"ringway.dev/cluster/internal/command"
)

func init() {
	// The main goroutine keeps the main thread, so that no other one changes the namespaces of that thread: it cannot
	// be thrown away, and /proc/self shows its namespaces as the process's.
	runtime.LockOSThread()
}

func main() {
	arguments := os.Args[1:]
	if filepath.Base(os.Args[0]) == "kubectl" {
		os.Exit(command.RunKubectl())
	}
	if len(arguments) > 0 && arguments[0] == "internal" {
		os.Exit(command.RunInternal(arguments[1:]))
	}
	os.Exit(command.Run(arguments))
}
