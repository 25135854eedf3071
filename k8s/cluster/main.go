package main

import (
	"os"

	_ "github.com/vishvananda/netlink"
	_ "golang.org/x/sys/unix"
	"go.etcd.io/etcd/server/v3/etcdmain"
	_ "k8s.io/client-go/informers"
	_ "k8s.io/client-go/kubernetes"
	_ "k8s.io/client-go/dynamic"
	_ "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	_ "k8s.io/client-go/tools/clientcmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kcm "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	_ "sigs.k8s.io/yaml"
)

func main() {
	switch os.Args[1] {
	case "etcd":
		etcdmain.Main(os.Args)
	case "apiserver":
		apiserver.NewAPIServerCommand().Execute()
	case "kcm":
		kcm.NewControllerManagerCommand().Execute()
	case "proxy":
		proxy.NewProxyCommand().Execute()
	}
}
