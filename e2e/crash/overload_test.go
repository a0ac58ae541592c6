package crash

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/belay-dev/belay/cmd/belay/app"
	"github.com/belay-dev/belay/cmd/belay/control"
)

// load is a repository of many Deployments, and a push of many commits to it.
type load struct {
	deployments int
	commits     int // of one push, one Deployment each; 0: one commit that changes all
}

func (l load) String() string {
	return fmt.Sprintf("deployments=%d,commits=%d", l.deployments, l.commits)
}

// write makes the repository and returns its directory; push moves the branch on.
func (l load) write(tb testing.TB) (dir string, push func()) {
	tb.Helper()
	dir = filepath.Join(tb.TempDir(), "shop.git")
	run := func(stdin []byte, args ...string) {
		cmd := exec.Command("git", args...)
		cmd.Stdin = bytes.NewReader(stdin)
		if out, err := cmd.CombinedOutput(); err != nil {
			tb.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	run(nil, "init", "--quiet", "--bare", dir)
	var s bytes.Buffer
	commit := func(mark int) {
		fmt.Fprintf(&s, "commit refs/heads/story\nmark :%d\ncommitter Ann <ann@example.com> %d +0000\ndata 4\npush\n", mark, 1790000000+mark)
		if mark > 1 {
			fmt.Fprintf(&s, "from :%d\n", mark-1)
		}
	}
	file := func(i int, image string) {
		name := fmt.Sprintf("web-%d", i)
		text := manifest(name, image)
		fmt.Fprintf(&s, "M 644 inline apps/%s/web.yaml\ndata %d\n%s\n", name, len(text), text)
	}
	commit(1)
	for i := range l.deployments {
		file(i, "web:1")
	}
	for n := range l.commits {
		commit(n + 2)
		file(n%l.deployments, fmt.Sprintf("web:%d", n+2))
	}
	if l.commits == 0 {
		commit(2)
		for i := range l.deployments {
			file(i, "web:2")
		}
	}
	fmt.Fprint(&s, "reset refs/heads/main\nfrom :1\n\n")
	run(s.Bytes(), "-C", dir, "fast-import", "--quiet")
	return dir, func() { run(nil, "-C", dir, "update-ref", "refs/heads/main", "refs/heads/story") }
}

// busy syncs a load and asks for status all the while. It gives how long each answer took that came before the sync ended,
// sorted, and the largest heap.
func (l load) busy(tb testing.TB) (answers []time.Duration, heap uint64) {
	tb.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		tb.Skip("git is not installed")
	}
	dir, push := l.write(tb)
	data := filepath.Join(tb.TempDir(), "data")
	client, stop := serveLoad(tb, dir, data)
	defer stop()
	ctx := tb.Context()
	sync := func() {
		res, err := client.Sync(ctx, control.SyncRequest{Wait: true}, func(control.Row) {})
		if err != nil || !res.OK {
			tb.Errorf("sync: %v, %+v", err, res.Sources)
		}
	}
	sync()
	push()
	return watch(tb, data, sync)
}

// watch asks for status until work has ended. What it is answered is not read: whoever asks does that in a process of their own.
func watch(tb testing.TB, data string, work func()) (answers []time.Duration, heap uint64) {
	tb.Helper()
	service, err := app.ReadService(data)
	if err != nil {
		tb.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", service.Socket)
	}}}
	defer client.CloseIdleConnections()
	var working sync.WaitGroup
	done := make(chan struct{})
	working.Go(func() {
		defer close(done)
		work()
	})
	defer working.Wait()
	for {
		begin := time.Now()
		if err := askStatus(tb.Context(), client); err != nil {
			tb.Error(err)
			return answers, heap
		}
		took := time.Since(begin)
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		heap = max(heap, m.HeapInuse)
		select {
		case <-done:
			slices.Sort(answers)
			return answers, heap
		case <-time.After(10 * time.Millisecond):
			answers = append(answers, took)
		}
	}
}

// askStatus asks for status and waits for the last byte of the answer.
func askStatus(ctx context.Context, client *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://belay/belay/v1/status", nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	_, err = io.Copy(io.Discard, res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("status: %s", res.Status)
	}
	return err
}

// TestBusy: while one push is recorded and rolled out, questions are answered.
func TestBusy(t *testing.T) {
	t.Parallel()
	for _, l := range []load{{deployments: 20, commits: 200}, {deployments: 200}} {
		t.Run(l.String(), func(t *testing.T) {
			t.Parallel()
			answers, heap := l.busy(t)
			if len(answers) == 0 {
				t.Fatal("no question was answered before the end")
			}
			t.Logf("%d answers, the slowest after %s, heap %d MB", len(answers), answers[len(answers)-1], heap>>20)
		})
	}
}

// BenchmarkOverload is one push of 1,000 commits, and one commit that changes 5,000 Deployments. The goal is that
// status is answered within 100 ms meanwhile, and that the heap does not grow with the number of commits.
func BenchmarkOverload(b *testing.B) {
	for _, l := range []load{{deployments: 100, commits: 100}, {deployments: 100, commits: 1000}, {deployments: 5000}} {
		b.Run(l.String(), func(b *testing.B) {
			for range b.N {
				answers, heap := l.busy(b)
				if len(answers) == 0 {
					b.Fatal("no question was answered before the end")
				}
				b.ReportMetric(float64(len(answers)), "answers")
				for _, percent := range []int{50, 95, 99, 100} {
					took := answers[(len(answers)-1)*percent/100]
					b.ReportMetric(float64(took.Milliseconds()), fmt.Sprintf("p%d-ms", percent))
				}
				b.ReportMetric(float64(heap>>20), "heap-MB")
			}
		})
	}
}
