package cli

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/belay-dev/belay/cmd/belay/app"
)

// hook sends a file to the service's webhook address as GitHub sends a push.
func hook(ts *testscript.TestScript, _ bool, args []string) {
	service, err := app.ReadService(ts.Getenv("BELAY_DATA_DIR"))
	ts.Check(err)
	body := ts.ReadFile(args[2])
	m := hmac.New(sha256.New, []byte(args[1]))
	m.Write([]byte(body))
	req, err := http.NewRequest(http.MethodPost, "http://"+service.Webhook+args[0], strings.NewReader(body))
	ts.Check(err)
	req.Header.Set("X-GitHub-Event", "push")
	req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(m.Sum(nil)))
	res, err := http.DefaultClient.Do(req)
	ts.Check(err)
	answer, err := io.ReadAll(res.Body)
	ts.Check(err)
	ts.Check(res.Body.Close())
	if got := res.Status[:3]; got != args[3] {
		ts.Fatalf("%s answers %s %s", args[0], res.Status, answer)
	}
}
