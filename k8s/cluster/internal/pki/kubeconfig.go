package pki

import (
	"fmt"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// WriteKubeconfig stores a kubeconfig that reaches server with the pair's identity. The file is readable by its owner only.
func (a *Authority) WriteKubeconfig(path, cluster, server string, pair Pair) error {
	config := api.NewConfig()
	config.Clusters[cluster] = &api.Cluster{Server: server, CertificateAuthorityData: a.encoded}
	config.AuthInfos[cluster] = &api.AuthInfo{ClientCertificateData: pair.Certificate, ClientKeyData: pair.Key}
	config.Contexts[cluster] = &api.Context{Cluster: cluster, AuthInfo: cluster, Namespace: "default"}
	config.CurrentContext = cluster
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return fmt.Errorf("writing a kubeconfig: %w", err)
	}
	return nil
}
