package api

import (
	"fmt"
	"net"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/belay-dev/belay/state"
)

const clusterName = "belay"

// writeKubeconfig tells kubectl where the server is and how it is known, with a context for the first token of each
// role; the current one may edit.
func writeKubeconfig(files state.Files, name string, address net.Addr, certificate []byte, tokens []token) error {
	host, port, err := net.SplitHostPort(address.String())
	if err != nil {
		return fmt.Errorf("make kubeconfig: %w", err)
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	config := clientcmdapi.NewConfig()
	config.Clusters[clusterName] = &clientcmdapi.Cluster{
		Server: "https://" + net.JoinHostPort(host, port), CertificateAuthorityData: certificate,
	}
	for _, t := range tokens {
		context := clusterName + "-" + string(t.role)
		if config.Contexts[context] != nil {
			continue
		}
		config.AuthInfos[context] = &clientcmdapi.AuthInfo{Token: t.secret}
		config.Contexts[context] = &clientcmdapi.Context{Cluster: clusterName, AuthInfo: context, Namespace: "default"}
		config.CurrentContext = context
	}
	if edit := clusterName + "-" + string(RoleEdit); config.Contexts[edit] != nil {
		config.CurrentContext = edit
	}
	data, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("make kubeconfig: %w", err)
	}
	if err := files.Replace(FileKubeconfig, name, data); err != nil {
		return fmt.Errorf("make kubeconfig: %w", err)
	}
	return nil
}
