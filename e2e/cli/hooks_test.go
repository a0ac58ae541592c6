package cli

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/belay-dev/belay/cmd/belay/app"
)

// hook sends a file to the service's webhook address as GitHub sends a push.
func hook(ts *testscript.TestScript, _ bool, args []string) {
	body := ts.ReadFile(args[2])
	post(ts, args[0], body, args[3], map[string]string{
		"X-GitHub-Event":      "push",
		"X-Hub-Signature-256": "sha256=" + hex.EncodeToString(sign([]byte(args[1]), body)),
	})
}

// deliver sends a delivery as a Git host does: a file with the request line, the headers and the body, in which stand
//
//	AFTER, BEFORE   the commits of the newest push from the directory shop
//	ADDRESS         where the repositories are served, without a scheme
//	SECRET          the secret of the host's settings, the file args[1]
//	HMAC            the HMAC of the body with it
//	NOW, STANDARD   the time, and the signature of Standard Webhooks over it, the header webhook-id and the body
func deliver(ts *testscript.TestScript, _ bool, args []string) {
	secret := strings.TrimSpace(ts.ReadFile(args[1]))
	head, body, _ := strings.Cut(ts.ReadFile(args[0]), "\n\n")
	_, address, _ := strings.Cut(ts.Getenv("HTTP_URL"), "://")
	body = strings.NewReplacer("AFTER", commit(ts, "HEAD"), "BEFORE", commit(ts, "HEAD~1"), "ADDRESS", address).Replace(body)
	lines := strings.Split(head, "\n")
	headers := map[string]string{}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		headers[name] = value
	}
	now := strconv.FormatInt(time.Now().Unix(), 10)
	signed := strings.NewReplacer(
		"SECRET", secret, "HMAC", hex.EncodeToString(sign([]byte(secret), body)), "NOW", now,
		"STANDARD", "v1,"+base64.StdEncoding.EncodeToString(sign(standardKey(ts, secret), headers["webhook-id"]+"."+now+"."+body)),
	)
	for name, value := range headers {
		headers[name] = signed.Replace(value)
	}
	_, path, _ := strings.Cut(lines[0], " ")
	post(ts, path, body, args[2], headers)
}

// standardKey is what a secret of Standard Webhooks signs with.
func standardKey(ts *testscript.TestScript, secret string) []byte {
	encoded, ok := strings.CutPrefix(secret, "whsec_")
	if !ok {
		return []byte(secret)
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	ts.Check(err)
	return key
}

func sign(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// commit is the hash of a commit in the directory shop.
func commit(ts *testscript.TestScript, name string) string {
	out, err := exec.Command("git", "-C", ts.MkAbs("shop"), "rev-parse", name).Output()
	ts.Check(err)
	return strings.TrimSpace(string(out))
}

// post sends a delivery to the service's webhook address, and expects a status.
func post(ts *testscript.TestScript, path, body, status string, headers map[string]string) {
	service, err := app.ReadService(ts.Getenv("BELAY_DATA_DIR"))
	ts.Check(err)
	req, err := http.NewRequest(http.MethodPost, "http://"+service.Webhook+path, strings.NewReader(body))
	ts.Check(err)
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	ts.Check(err)
	answer, err := io.ReadAll(res.Body)
	ts.Check(err)
	ts.Check(res.Body.Close())
	if got := res.Status[:3]; got != status {
		ts.Fatalf("%s answers %s %s", path, res.Status, answer)
	}
}
