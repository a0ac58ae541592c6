//go:build deps

package e2e

// Required from the first commit on: see state/api/deps.go. The upstream controllers are the oracle for ours;
// nothing but tests of this package may import them.
import (
	_ "github.com/chromedp/chromedp"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "golang.org/x/crypto/ssh"
	_ "golang.org/x/tools/txtar"
	_ "k8s.io/client-go/kubernetes/fake"
	_ "k8s.io/kubernetes/pkg/controller/deployment"
	_ "k8s.io/kubernetes/pkg/controller/replicaset"
	_ "pgregory.net/rapid"
)
