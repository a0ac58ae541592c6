package cli

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/belay-dev/belay/cmd/belay/app"
)

// call asks Belay's own API as nobody's client does.
func call(ts *testscript.TestScript, _ bool, args []string) {
	role, method, path, body, status := args[0], args[1], args[2], args[3], args[4]
	service, err := app.ReadService(ts.Getenv("BELAY_DATA_DIR"))
	ts.Check(err)
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // the certificate is its own
	url, token := "https://"+service.Address, ""
	if role == "socket" {
		url = "http://belay"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", service.Socket)
		}
	} else {
		config, err := clientcmd.LoadFromFile(service.Kubeconfig)
		ts.Check(err)
		token = config.AuthInfos["belay-"+role].Token
	}
	req, err := http.NewRequestWithContext(context.Background(), method, url+"/belay/v1/"+path, strings.NewReader(body))
	ts.Check(err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
	ts.Check(err)
	answer, err := io.ReadAll(res.Body)
	ts.Check(err)
	ts.Check(res.Body.Close())
	ts.Check(os.WriteFile(ts.MkAbs("answer"), answer, 0o644))
	if got := fmt.Sprint(res.StatusCode); got != status {
		ts.Fatalf("%s %s as %s: %s %s", method, path, role, got, answer)
	}
}
