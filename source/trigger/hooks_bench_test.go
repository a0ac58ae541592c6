package trigger

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// BenchmarkHooks measures what one request costs: a push that is accepted, alone and while forged ones of the same size
// come without end, and a forged one.
func BenchmarkHooks(b *testing.B) {
	body := func(i int64) string {
		return fmt.Sprintf(`{"ref": "refs/heads/main", "after": "%040x", "pad": %q}`, i, strings.Repeat("x", 10_000))
	}
	type served struct {
		hooked
		n atomic.Int64
	}
	serve := func() *served {
		s := &served{}
		s.Hooks = NewHooks(HooksConfig{
			Secret: func() (string, error) { return hookSecret, nil }, Log: zerolog.Nop(),
			Now: func() time.Time { return time.Unix(s.n.Load(), 0) }, // a second for each push: the rate is no matter here
		})
		s.Follow([]HookSource{{Name: "shop", URL: "https://git.example.com/shop.git", Branch: "main", Look: func() {}, Has: func(string) bool { return true }}})
		return s
	}
	accepted := func(b *testing.B, s *served) {
		for b.Loop() {
			text := body(s.n.Add(1))
			signature := hex.EncodeToString(mac(sha256.New, []byte(hookSecret), []byte(text)))
			if status, answer := s.post("/hooks/shop", text, "X-GitHub-Event", "push", "X-Hub-Signature-256", "sha256="+signature); status != http.StatusAccepted {
				b.Fatal(status, answer)
			}
		}
	}
	forged := func(s *served, text string) int {
		status, _ := s.post("/hooks/shop", text, "X-GitHub-Event", "push", "X-Hub-Signature-256", "sha256="+strings.Repeat("0", 64))
		return status
	}
	b.Run("accepted", func(b *testing.B) { accepted(b, serve()) })
	b.Run("forged", func(b *testing.B) {
		s, text := serve(), body(0)
		for b.Loop() {
			if status := forged(s, text); status != http.StatusUnauthorized {
				b.Fatal(status)
			}
		}
	})
	b.Run("accepted in a flood", func(b *testing.B) {
		s, text := serve(), body(0)
		stop, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			for {
				select {
				case <-stop:
					return
				default:
					forged(s, text)
				}
			}
		}()
		accepted(b, s)
		close(stop)
		<-ended
	})
}
