package app

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// WebhookConfig says where Git hosts tell that something was pushed.
type WebhookConfig struct {
	// Listen is a TCP address, host:port; empty: nowhere.
	Listen string `yaml:"listen"`
	// SecretFile has what they sign with; it is read at each request.
	SecretFile string `yaml:"secretFile"`
}

func (v *validator) webhook(w WebhookConfig) {
	v.listen("webhook.listen", w.Listen)
	switch {
	case w.Listen != "" && w.SecretFile == "":
		v.add("webhook.secretFile", "required: whoever could send without a secret could keep this service busy")
	case w.Listen == "" && w.SecretFile != "":
		v.add("webhook.listen", "required beside secretFile")
	}
}

// secret reads what Git hosts sign with.
func (w WebhookConfig) secret() (string, error) {
	f, err := os.Open(w.SecretFile)
	if err != nil {
		return "", fmt.Errorf("webhook.secretFile: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return "", fmt.Errorf("webhook.secretFile: %w", err)
	}
	s := strings.TrimSpace(string(b))
	if s == "" {
		return "", fmt.Errorf("webhook.secretFile: %s is empty", w.SecretFile)
	}
	return s, nil
}

// listenHooks opens the address of webhooks, once there is a secret.
func (a *App) listenHooks() (net.Listener, error) {
	if a.config.Webhook.Listen == "" {
		return nil, nil
	}
	if _, err := a.config.Webhook.secret(); err != nil {
		return nil, &hinted{err, "write a long random text into it: openssl rand -hex 32"}
	}
	l, err := net.Listen("tcp", a.config.Webhook.Listen)
	if err != nil {
		return nil, &hinted{fmt.Errorf("listen for webhooks: %w", err), "choose another address for webhook.listen"}
	}
	return l, nil
}

// hookServer serves webhooks to whoever can reach it, so that it waits for nobody.
func hookServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 15 * time.Second,
		IdleTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
	}
}

// TestWebhook sends a signed push, as a Git host would, to the service's own address.
func (o *operator) TestWebhook(ctx context.Context, name string) (control.WebhookTest, error) {
	if err := o.known(name); err != nil {
		return control.WebhookTest{}, err
	}
	if o.hooks == "" {
		return control.WebhookTest{}, &control.Error{
			Status: http.StatusConflict, Message: "no webhook is configured", HintText: "set webhook.listen and webhook.secretFile in the configuration",
		}
	}
	secret, err := o.secret()
	if err != nil {
		return control.WebhookTest{}, err
	}
	body, err := json.Marshal(map[string]string{"test": rand.Text()})
	if err != nil {
		return control.WebhookTest{}, fmt.Errorf("make the push: %w", err)
	}
	out := control.WebhookTest{URL: "http://" + o.hooks + "/hooks/" + name}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, out.URL, bytes.NewReader(body))
	if err != nil {
		return out, fmt.Errorf("make the push: %w", err)
	}
	m := hmac.New(sha256.New, []byte(secret))
	m.Write(body)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-GitHub-Event", "push")
	req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(m.Sum(nil)))
	res, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return out, fmt.Errorf("send the push: %w", err)
	}
	answer, err := io.ReadAll(io.LimitReader(res.Body, 4096))
	out.Status, out.Answer = res.StatusCode, strings.TrimSpace(string(answer))
	return out, errors.Join(err, res.Body.Close())
}
