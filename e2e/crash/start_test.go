package crash

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/belay-dev/belay/cmd/belay/app"
	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/state"
)

// TestStartRendersNothing: a service that starts again takes what it had rendered from its cache.
func TestStartRendersNothing(t *testing.T) {
	t.Parallel()
	benchStart(t, 20, 1)
}

// BenchmarkStart starts the service over 1,000 Deployments with 100,000 rows of history. The goal is that it reconciles
// within 2 s, and answers what it is asked then within 50 ms.
func BenchmarkStart(b *testing.B) {
	for range b.N {
		took := benchStart(b, 1000, 100)
		b.ReportMetric(float64(took.start.Milliseconds()), "start-ms")
		b.ReportMetric(float64(took.cpu.Milliseconds()), "start-cpu-ms")
		b.ReportMetric(float64(took.status.Milliseconds()), "status-ms")
		b.ReportMetric(float64(took.history.Milliseconds()), "history-ms")
	}
}

// took is how long things took: until the source was at its commit again, in time and in CPU time of the process, and
// until a question was answered.
type took struct{ start, cpu, status, history time.Duration }

// benchStart serves a repository, stops, gives each Deployment rows, and serves again. Nothing may be rendered twice.
func benchStart(tb testing.TB, deployments, rows int) took {
	tb.Helper()
	dir, _ := load{deployments: deployments}.write(tb)
	data := filepath.Join(tb.TempDir(), "data")
	client, stop := serveLoad(tb, dir, data)
	if res, err := client.Sync(tb.Context(), control.SyncRequest{Wait: true}, func(control.Row) {}); err != nil || !res.OK {
		tb.Fatalf("sync: %v, %+v", err, res.Sources)
	}
	stop()
	age(tb, data, rows)
	before := rendered(tb, data)

	var t took
	begin, used := time.Now(), processCPU(tb)
	client, stop = serveLoad(tb, dir, data)
	defer stop()
	for at := ""; at == ""; <-time.After(10 * time.Millisecond) { // who asks all the time measures that
		asked := time.Now()
		s, err := client.Status(tb.Context())
		if err != nil {
			tb.Fatal(err)
		}
		if !s.Sources[0].LastPoll.IsZero() {
			at = s.Sources[0].Commit
		}
		t.status = time.Since(asked)
	}
	t.start, t.cpu = time.Since(begin), processCPU(tb)-used
	asked := time.Now()
	if got, err := client.History(tb.Context(), control.HistoryQuery{Name: "web-7"}); err != nil || len(got) != rows+1 {
		tb.Errorf("%d rows, %v", len(got), err)
	}
	t.history = time.Since(asked)
	anew := rendered(tb, data)
	maps.DeleteFunc(anew, func(path string, at time.Time) bool { return before[path].Equal(at) })
	if len(before) <= deployments || len(anew) > 1 { // the list of the app's roots is written at each start
		tb.Errorf("of %d results of rendering %d were written again", len(before), len(anew))
	}
	return t
}

func processCPU(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// serveLoad serves a repository until stop is called.
func serveLoad(tb testing.TB, dir, data string) (client *control.Client, stop func()) {
	tb.Helper()
	src, a := app.DefaultSource(), app.DefaultApp()
	a.Name = "shop"
	src.Name, src.URL, src.Interval, src.Import, src.Apps = "shop", dir, time.Hour, 0, []app.AppConfig{a}
	c := app.DefaultConfig()
	c.Sources, c.Listen, c.Simulate = []app.SourceConfig{src}, "127.0.0.1:0", []string{"delay=1ms", "stop=1ms"}
	service := app.New(c, data, zerolog.Nop())
	ctx, cancel := context.WithCancel(tb.Context())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	select {
	case <-service.Ready():
	case err := <-ended:
		cancel()
		tb.Fatal(err)
	}
	found, err := app.ReadService(data)
	if err != nil {
		tb.Fatal(err)
	}
	client = control.NewClient(found.Socket)
	return client, func() {
		client.Close()
		cancel()
		if err := <-ended; err != nil {
			tb.Error(err)
		}
	}
}

// age adds rows to the history of every Deployment of a stopped service.
func age(tb testing.TB, data string, rows int) {
	tb.Helper()
	store, err := state.Open(data, state.Options{Now: time.Now})
	if err != nil {
		tb.Fatal(err)
	}
	for _, m := range store.Inventory("shop") {
		row := store.Rows(m.Key.Namespace, m.Key.Name)[0]
		var ws []state.Write
		for n := range rows {
			row.ID, row.Commit, row.Past = fmt.Sprintf("%s-%d", m.Key.Name, n), fmt.Sprintf("%040d", n), int64(n+1)
			row.Outcome, row.Revision = "Imported", 0
			ws = append(ws, state.PutRow(row))
		}
		if _, err := store.Commit(ws...); err != nil {
			tb.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		tb.Fatal(err)
	}
}

// rendered are the results of rendering that a data directory keeps, with when they were written.
func rendered(tb testing.TB, data string) map[string]time.Time {
	tb.Helper()
	out := map[string]time.Time{}
	err := filepath.WalkDir(filepath.Join(data, "cache"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := os.Stat(path)
		if err == nil {
			out[path] = info.ModTime()
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}
