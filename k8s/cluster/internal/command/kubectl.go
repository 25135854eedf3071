package command

import (
	"runtime"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
)

// RunKubectl is kubectl, as upstream builds it, with this process's arguments.
func RunKubectl() int {
	runtime.UnlockOSThread()
	return cli.Run(cmd.NewDefaultKubectlCommand())
}
