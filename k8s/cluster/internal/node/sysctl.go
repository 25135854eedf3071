package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/api/core/v1"

	"ringway.dev/cluster/internal/space"
)

// applySysctls sets the kernel parameters that a pod asks for, of which those of its network are its own.
func applySysctls(network *os.File, pod *v1.Pod) error {
	if pod.Spec.SecurityContext == nil || len(pod.Spec.SecurityContext.Sysctls) == 0 {
		return nil
	}
	return space.OnThread(func() error {
		if err := space.Join(network, space.Network); err != nil {
			return err
		}
		for _, parameter := range pod.Spec.SecurityContext.Sysctls {
			path := strings.ReplaceAll(parameter.Name, ".", "/")
			if !strings.HasPrefix(path, "net/") || strings.Contains(path, "..") {
				return fmt.Errorf("sysctl %s: only those of net can be set here", parameter.Name)
			}
			if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(parameter.Value), 0); err != nil {
				return fmt.Errorf("sysctl %s: %w", parameter.Name, err)
			}
		}
		return nil
	})
}
