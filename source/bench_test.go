package source

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var large struct {
	once sync.Once
	dir  string
}

// largeRepo makes, once in a run, a repository of 15,000 files in 5,000 directories with 6,000 commits that change one
// file each, and returns a cheap copy of it.
func largeRepo(b *testing.B) *repo {
	b.Helper()
	needGit(b)
	large.once.Do(func() {
		dir, err := os.MkdirTemp("", "belay-bench-*") //nolint:usetesting // lasts for the whole run
		if err != nil {
			b.Fatal(err)
		}
		r := &repo{t: b, dir: filepath.Join(dir, "remote.git")}
		r.git("", "init", "-q", "--bare", "-b", "main", r.dir)
		var in strings.Builder
		in.WriteString("commit refs/heads/main\ncommitter A <a@b> 1700000000 +0000\ndata 5\nfirst\n")
		for d := range 5000 {
			for _, f := range []string{"deployment", "service", "config"} {
				text := fmt.Sprintf("kind: %s\nname: app-%d\nimage: registry.example/app-%d:1\n%s", f, d, d, strings.Repeat("x: y\n", 20))
				fmt.Fprintf(&in, "M 100644 inline apps/app-%04d/%s.yaml\ndata %d\n%s\n", d, f, len(text), text)
			}
		}
		for i := range 6000 {
			text := fmt.Sprintf("kind: deployment\nname: app\nimage: registry.example/app:%d\n%s", i, strings.Repeat("x: y\n", 20))
			fmt.Fprintf(&in, "commit refs/heads/main\ncommitter A <a@b> %d +0000\ndata 6\nc%05d\nM 100644 inline apps/app-%04d/deployment.yaml\ndata %d\n%s\n", 1700000000+i, i, i*7%5000, len(text), text)
		}
		in.WriteString("done\n")
		r.git(in.String(), "fast-import", "--quiet", "--force", "--done")
		r.git("", "gc", "-q")
		large.dir = r.dir
	})
	r := &repo{t: b, dir: filepath.Join(b.TempDir(), "remote.git")}
	r.git("", "clone", "-q", "--bare", large.dir, r.dir)
	r.n = 10000
	return r
}

func TestMain(m *testing.M) {
	code := m.Run()
	if large.dir != "" {
		_ = os.RemoveAll(filepath.Dir(large.dir))
	}
	os.Exit(code)
}

// cpu returns the processor time used by this process and by the children it has waited for.
func cpu(b *testing.B) (self, children float64) {
	b.Helper()
	read := func(who int) float64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e6
	}
	return read(syscall.RUSAGE_SELF), read(syscall.RUSAGE_CHILDREN)
}

// both runs a benchmark for Belay and for the git binary.
func both(b *testing.B, belay, git func(b *testing.B)) {
	b.Run("belay", func(b *testing.B) {
		before, _ := cpu(b)
		belay(b)
		after, _ := cpu(b)
		b.ReportMetric((after-before)/float64(b.N), "cpu-ms/op")
	})
	b.Run("git", func(b *testing.B) {
		_, before := cpu(b)
		git(b)
		_, after := cpu(b)
		b.ReportMetric((after-before)/float64(b.N), "cpu-ms/op")
	})
}

// BenchmarkPollNoChange looks at a branch that has not moved; the bytes are those that the server answers. The
// processor time of the server's git processes is not in it for Belay, and is for git.
func BenchmarkPollNoChange(b *testing.B) {
	for _, refs := range []int{2, 14000} {
		for _, way := range []string{"path", "http"} {
			b.Run(fmt.Sprintf("%s/%d refs", way, refs), func(b *testing.B) {
				r := newRepo(b)
				h := r.commit("main", "first", map[string]string{"f": "1"})
				manyRefs(r, h, refs-1)
				cfg := r.config()
				var w *webServer
				if way == "http" {
					w = serveHTTP(b, r)
					cfg = w.config(r)
				}
				both(b, func(b *testing.B) {
					m := openMirror(b, cfg)
					defer m.Close()
					poll(b, m)
					if w != nil {
						w.bytes.Store(0)
					}
					for b.Loop() {
						poll(b, m)
					}
					if w != nil {
						b.ReportMetric(float64(w.bytes.Load())/float64(b.N), "answer-B/op")
					}
				}, func(b *testing.B) {
					clone := filepath.Join(b.TempDir(), "clone")
					r.git("", "clone", "-q", "--bare", "--single-branch", cfg.URL, clone)
					if w != nil {
						w.bytes.Store(0)
					}
					for b.Loop() {
						r.git("", "-C", clone, "fetch", "-q", "--no-tags", cfg.URL, "+refs/heads/main:refs/heads/main")
					}
					if w != nil {
						b.ReportMetric(float64(w.bytes.Load())/float64(b.N), "answer-B/op")
					}
				})
			})
		}
	}
}

// BenchmarkFetchOneCommit brings one new commit of a large repository; making the commit is not counted.
func BenchmarkFetchOneCommit(b *testing.B) {
	for _, way := range []string{"path", "http"} {
		b.Run(way, func(b *testing.B) {
			r := largeRepo(b)
			cfg := r.config()
			if way == "http" {
				cfg = serveHTTP(b, r).config(r)
			}
			next := func(i int) {
				r.commit("main", "bump", map[string]string{fmt.Sprintf("apps/app-%04d/deployment.yaml", i%5000): fmt.Sprint(r.n)})
			}
			both(b, func(b *testing.B) {
				m := openMirror(b, cfg)
				defer m.Close()
				poll(b, m)
				b.ResetTimer()
				for i := range b.N {
					b.StopTimer()
					next(i)
					b.StartTimer()
					poll(b, m)
				}
			}, func(b *testing.B) {
				clone := filepath.Join(b.TempDir(), "clone")
				r.git("", "clone", "-q", "--bare", "--single-branch", cfg.URL, clone)
				b.ResetTimer()
				for i := range b.N {
					b.StopTimer()
					next(i)
					b.StartTimer()
					r.git("", "-C", clone, "fetch", "-q", "--no-tags", cfg.URL, "+refs/heads/main:refs/heads/main")
				}
			})
		})
	}
}

func dirSize(b *testing.B, dir string) int64 {
	b.Helper()
	var n int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkFirstClone copies a large repository whole.
func BenchmarkFirstClone(b *testing.B) {
	for _, way := range []string{"path", "http"} {
		b.Run(way, func(b *testing.B) {
			r := largeRepo(b)
			cfg := r.config()
			if way == "http" {
				cfg = serveHTTP(b, r).config(r)
			}
			both(b, func(b *testing.B) {
				var size int64
				for i := 0; b.Loop(); i++ {
					c := cfg
					c.Dir = fmt.Sprint(cfg.Dir, i)
					m := openMirror(b, c)
					poll(b, m)
					m.Close()
					size = dirSize(b, c.Dir)
				}
				b.ReportMetric(float64(size)/1e6, "disk-MB")
				b.ReportMetric(peakMemory(b, pollAlone(killEnv+"="+cfg.Dir+"-peak", killEnv+"_URL="+cfg.URL)), "peak-MB")
			}, func(b *testing.B) {
				url := cfg.URL
				if way == "path" {
					url = "file://" + url // otherwise it links the files
				}
				for i := 0; b.Loop(); i++ {
					r.git("", "clone", "-q", "--bare", "--single-branch", url, filepath.Join(b.TempDir(), fmt.Sprint(i)))
				}
				alone := exec.Command("git", "clone", "-q", "--bare", "--single-branch", url, filepath.Join(b.TempDir(), "peak"))
				alone.Env = gitEnv()
				b.ReportMetric(peakMemory(b, alone, "index-pack", "fetch-pack", "remote-http"), "peak-MB")
			})
		})
	}
}

// pollAlone is one poll in a process of its own: the test binary, told by variables.
func pollAlone(variables ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run", "^TestKilledAmidAFetch$")
	cmd.Env = append(gitEnv(), variables...)
	return cmd
}

// peakMemory returns the most memory that a command holds, or the largest of those that it starts and whose command line
// has one of the words. The kernel's account of a child that has ended begins with its parent's memory: each is asked
// while it lives.
func peakMemory(b *testing.B, cmd *exec.Cmd, words ...string) (megabytes float64) {
	b.Helper()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ; !exited(cmd); <-tick.C {
		for _, pid := range family(fmt.Sprint(cmd.Process.Pid), words) {
			status, _ := os.ReadFile("/proc/" + pid + "/status") // it may just have ended
			if _, rest, ok := strings.Cut(string(status), "VmHWM:"); ok {
				var kilobytes float64
				if _, err := fmt.Sscan(rest, &kilobytes); err == nil {
					megabytes = max(megabytes, kilobytes/1e3)
				}
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
	return megabytes
}

// family lists a process and those below it whose command line has one of the words.
func family(pid string, words []string) []string {
	out := []string{pid}
	children, _ := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children") // it may just have ended
	for _, child := range strings.Fields(string(children)) {
		line, _ := os.ReadFile("/proc/" + child + "/cmdline") // the same
		below := family(child, words)
		if !slices.ContainsFunc(words, func(w string) bool { return strings.Contains(string(line), w) }) {
			below = below[1:]
		}
		out = append(out, below...)
	}
	return out
}

// BenchmarkWalk goes from the head of a large repository back to its first commit.
func BenchmarkWalk(b *testing.B) {
	r := largeRepo(b)
	root := Hash(r.git("", "rev-list", "--max-parents=0", "main"))
	m := r.mirror()
	head := poll(b, m)
	both(b, func(b *testing.B) {
		for b.Loop() {
			m.graph = newGraph() // as after a start
			s, err := m.Snapshot()
			if err != nil {
				b.Fatal(err)
			}
			if list := steps(b, s, root, head.Commit, 0); len(list) != 6000 {
				b.Fatalf("%d steps", len(list))
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		}
	}, func(b *testing.B) {
		for b.Loop() {
			if out := r.git("", "log", "--first-parent", "--format=%H %an %ae %at %s", string(root)+"..main"); strings.Count(out, "\n") != 5999 {
				b.Fatal("wrong log")
			}
		}
	})
}

// BenchmarkDiffOneFile finds the one file that two commits of a large repository differ in, each time from a new
// snapshot, as after a poll.
func BenchmarkDiffOneFile(b *testing.B) {
	r := largeRepo(b)
	m := r.mirror()
	head := poll(b, m)
	parent := Hash(r.git("", "rev-parse", "main^"))
	both(b, func(b *testing.B) {
		for b.Loop() {
			s, err := m.Snapshot()
			if err != nil {
				b.Fatal(err)
			}
			var changed []string
			diff(b, must(s.Tree(parent)), must(s.Tree(head.Commit)), "", &changed)
			if len(changed) != 1 {
				b.Fatalf("changed: %v", changed)
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		}
	}, func(b *testing.B) {
		for b.Loop() {
			if out := r.git("", "diff-tree", "-r", "--name-only", string(parent), string(head.Commit)); strings.Contains(out, "\n") {
				b.Fatal(out)
			}
		}
	})
}

// diff lists the paths that differ, as a consumer of trees does it.
func diff(b *testing.B, from, to *Tree, dir string, out *[]string) {
	b.Helper()
	before, after := must(from.ReadDir(dir)), must(to.ReadDir(dir))
	for i, j := 0, 0; i < len(before) || j < len(after); {
		var x, y *entry
		if i < len(before) {
			x = before[i].(*entry)
		}
		if j < len(after) {
			y = after[j].(*entry)
		}
		switch order := compareEntries(x, y); {
		case order < 0:
			*out = append(*out, dir+x.name)
			i++
		case order > 0:
			*out = append(*out, dir+y.name)
			j++
		default:
			if i, j = i+1, j+1; x.id != y.id || x.mode != y.mode {
				path := strings.TrimPrefix(dir+"/"+x.name, "/")
				if x.IsDir() && y.IsDir() {
					diff(b, from, to, path, out)
				} else {
					*out = append(*out, path)
				}
			}
		}
	}
}

func compareEntries(x, y *entry) int {
	switch {
	case x == nil:
		return 1
	case y == nil:
		return -1
	}
	return bytes.Compare([]byte(x.name), []byte(y.name))
}
