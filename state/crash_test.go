package state

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

const crashDir = "BELAY_STATE_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		fmt.Println(writeUntilKilled(context.Background(), dir, os.Stdout))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeUntilKilled commits one transaction after the other, each of which writes the same number into two objects, a
// row, a hold, marks and an override, and says which numbers are durable.
func writeUntilKilled(ctx context.Context, dir string, out io.Writer) error {
	s, err := Open(dir, testOptions())
	if err != nil {
		return err
	}
	n := 0
	if r, ok := s.Hold("default", "web"); ok {
		if n, err = strconv.Atoi(r.ID); err != nil {
			return err
		}
	}
	put := func(name, value string) Write {
		if _, ok := s.Get(Key{KindConfigMap, "default", name}); ok {
			return Update(configMap(name, value))
		}
		return Create(configMap(name, value))
	}
	var said sync.Mutex
	for {
		n++
		value := strconv.Itoa(n)
		r, err := s.Commit(put("a", value), PutRow(testRow("row", "web", n%2 == 0)), put("b", value),
			PutHold(Hold{ID: value, Namespace: "default", Name: "web"}), PutRow(testRow(value, "web", false)),
			PutMark(Mark{ID: "m", Namespace: "default", Name: "web", Reason: value}), RemoveMark("default", "web", strconv.Itoa(n-1)),
			PutMark(Mark{ID: value, Namespace: "default", Name: "web"}),
			PutOverride(Override{ID: value, Namespace: "default", Name: "web", Field: "replicas", Value: value}))
		if err != nil {
			return err
		}
		told := make(chan error, 1)
		go func() {
			err := s.WaitDurable(ctx, r.Version)
			said.Lock()
			defer said.Unlock()
			if err == nil {
				_, err = fmt.Fprintln(out, value, r.Version)
			}
			told <- err
		}()
		if n%16 == 0 { // else the next one comes while this one is written
			if err := <-told; err != nil {
				return err
			}
		}
	}
}

// A process that is killed leaves whole transactions, all those that it said to be durable among them.
func TestKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(3, 4))
	lastVersion := int64(0)
	for round := range 8 {
		durable, version := runAndKill(t, dir, 1+random.IntN(400))
		s, err := Open(dir, testOptions())
		if err != nil {
			t.Fatal(err)
		}
		hold, _ := s.Hold("default", "web")
		n, err := strconv.Atoi(hold.ID)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := Get[*corev1.ConfigMap](s, "default", "a")
		b, _ := Get[*corev1.ConfigMap](s, "default", "b")
		row, _ := s.Row("row")
		if n < durable || a.Data["value"] != hold.ID || b.Data["value"] != hold.ID || row.Open != (n%2 == 0) {
			t.Errorf("round %d: durable %d, hold %s, a %s, b %s, row %v", round, durable, hold.ID, a.Data["value"], b.Data["value"], row.Open)
		}
		marks, overrides := s.Marks("default", "web"), s.Overrides("default", "web")
		if len(marks) != 2 || marks[0].ID != hold.ID || marks[1].Reason != hold.ID || len(overrides) != 1 || overrides[0].Value != hold.ID {
			t.Errorf("round %d: hold %s, marks %+v, overrides %+v", round, hold.ID, marks, overrides)
		}
		if rows := s.Rows("default", "web"); len(rows) != n+1 {
			t.Errorf("round %d: %d rows of %d", round, len(rows), n+1)
		}
		if s.Version() < version || s.Version() <= lastVersion {
			t.Errorf("round %d: version %d, was %d", round, s.Version(), version)
		}
		lastVersion = s.Version()
		checkIndexes(t, s)
		closeStore(t, s)
	}
}

// runAndKill lets a process of its own write, kills it once it has said so many numbers, and gives the last of them.
func runAndKill(t *testing.T, dir string, count int) (durable int, version int64) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		value, v, ok := strings.Cut(lines.Text(), " ")
		n, errN := strconv.Atoi(value)
		at, errV := strconv.ParseInt(v, 10, 64)
		if !ok || errN != nil || errV != nil {
			t.Errorf("the process says %q", lines.Text())
			break
		}
		durable, version = max(durable, n), max(version, at)
		if count--; count == 0 {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Errorf("not killed: %v", err)
	}
	return durable, version
}

// A Commit that was cut off by the end of the process is not there, one that was said to be durable is, for many
// writers at a time.
func TestManyWritersAreDurable(t *testing.T) {
	t.Parallel()
	const writers, rounds = 8, 20
	dir := t.TempDir()
	s := openDir(t, dir)
	var all sync.WaitGroup
	var mu sync.Mutex
	uids := map[types.UID]bool{}
	for n := range writers {
		all.Go(func() {
			for i := range rounds {
				r, err := s.Commit(Create(configMap(fmt.Sprintf("c-%d-%d", n, i), "1")), PutRow(testRow(fmt.Sprintf("r-%d-%d", n, i), "web", true)))
				if err == nil {
					err = s.WaitDurable(t.Context(), r.Version)
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				uids[r.Objects[0].GetUID()] = true
				mu.Unlock()
			}
		})
	}
	all.Wait()
	want := dump(t, s)
	copied := t.TempDir()
	content, err := os.ReadFile(dir + "/" + FileName)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied+"/"+FileName, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := dump(t, openDir(t, copied)); len(uids) != writers*rounds || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%d values of %d, %d uids", len(got), len(want), len(uids))
	}
}
