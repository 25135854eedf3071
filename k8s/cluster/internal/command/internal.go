package command

import (
	"errors"
	"fmt"
	"log"
	"os"
	"runtime"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // the components' client metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // and their version
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"

	"ringway.dev/cluster/internal/state"
	"ringway.dev/cluster/internal/supervisor"
)

// Files that `cluster up` hands to the supervisor.
const (
	permissionFile = 3
	progressFile   = 4
)

// RunInternal is the program that one process of a cluster runs.
func RunInternal(arguments []string) int {
	if len(arguments) == 0 {
		fmt.Fprintln(os.Stderr, "cluster internal: the cluster itself calls this")
		return 2
	}
	name, arguments := arguments[0], arguments[1:]
	switch name {
	case supervisor.Etcd:
		runtime.UnlockOSThread()
		etcdmain.Main(append([]string{name}, arguments...))
		return 0
	case supervisor.APIServer:
		return runUpstream(apiserver.NewAPIServerCommand(), arguments)
	case supervisor.Controllers:
		return runUpstream(controllers.NewControllerManagerCommand(), arguments)
	case supervisor.Proxy:
		return runUpstream(proxy.NewProxyCommand(), arguments)
	}
	if err := runOurs(name, arguments); err != nil {
		log.Printf("%s: %v", name, err)
		return 1
	}
	return 0
}

func runUpstream(command *cobra.Command, arguments []string) int {
	runtime.UnlockOSThread()
	command.SetArgs(arguments)
	return cli.Run(command)
}

func runOurs(name string, arguments []string) error {
	if len(arguments) != 1 {
		return errors.New("want the cluster's folder and nothing else")
	}
	folder := state.At(arguments[0])
	switch name {
	case "supervisor":
		return supervisor.Run(folder, os.NewFile(permissionFile, "permission"), os.NewFile(progressFile, "progress"))
	case supervisor.Agent:
		return runAgent(folder)
	default:
		return errors.New("there is no such component")
	}
}
