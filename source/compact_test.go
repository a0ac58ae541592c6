package source

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestPacksStayBounded(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	cfg := r.config()
	m := openMirror(t, cfg)
	first := r.commit("main", "start", map[string]string{"f": "start", "big": noise(10_000)})
	poll(t, m)
	open := snapshot(t, m)
	var heads []Hash
	chain(r, "main", 3*maxPacks)
	for i := range 3 * maxPacks {
		h := Hash(r.git("", "rev-parse", fmt.Sprintf("main~%d", 3*maxPacks-1-i)))
		heads = append(heads, h)
	}
	for _, h := range heads {
		r.point("main", h)
		poll(t, m)
		if n := len(packs(t, cfg.Dir, ".pack")); n > maxPacks+1 {
			t.Fatalf("%d packs", n)
		}
	}
	if files, err := readAll(open, first); err != nil || files["f"] != "start" {
		t.Fatalf("an open snapshot reads %v, %v", files, err)
	}
	m = openMirror(t, cfg)
	s := snapshot(t, m)
	if list := steps(t, s, first, heads[len(heads)-1], 0); len(list) != len(heads) {
		t.Fatalf("%d steps, want %d", len(list), len(heads))
	}
	for i, h := range heads {
		if files, err := readAll(s, h); err != nil || files["f"] != fmt.Sprintf("%04d", i) {
			t.Fatalf("%d: %v, %v", i, files["f"], err)
		}
	}
	fsck(t, cfg.Dir)
}

// fsck lets git judge a mirror.
func fsck(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.Command("git", "fsck", "--full", "--strict")
	cmd.Dir, cmd.Env = dir, gitEnv()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("git fsck: %v\n%s", err, out)
	}
}

// The packs written of packed, loose and borrowed objects, with deltas, are what git takes for sound.
func TestCopiedPacksAreSound(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"gc", "-q"}, {"repack", "-adfq", "--depth=50", "--window=50"}, {"-c", "repack.useDeltaBaseOffset=false", "repack", "-adfq"},
	} {
		r := newRepo(t)
		files := map[string]string{}
		for i := range 300 {
			files[fmt.Sprintf("d%d/f%d", i%10, i)] = fmt.Sprint(noise(2000), i)
		}
		r.commit("main", "start", files)
		other := r.commit("dev", "dev", map[string]string{"d1/f1": noise(2000) + "dev"})
		for i := range 30 {
			r.commit("main", fmt.Sprint("c", i), map[string]string{"d1/f1": fmt.Sprint(noise(2000), "v", i)})
		}
		r.git("", args...)
		loose := r.commit("main", "loose", map[string]string{"d1/f1": noise(2000) + "loose"})
		cfg := r.config()
		m := openMirror(t, cfg)
		if head := poll(t, m); head.Commit != loose {
			t.Fatalf("head %+v", head)
		}
		fsck(t, cfg.Dir)
		if got := len(packs(t, cfg.Dir, ".pack")); got != 1 {
			t.Errorf("%d packs", got)
		}
		if _, err := snapshot(t, m).Commit(other); KindOf(err) != KindNotFound {
			t.Errorf("another branch came along: %v", err)
		}
		if a, b := size(t, cfg.Dir), size(t, r.dir); a > 3*b {
			t.Errorf("the mirror has %d bytes, the repository %d", a, b)
		}
	}
}

func size(t *testing.T, dir string) (n int64) {
	t.Helper()
	for _, p := range packs(t, dir, ".pack") {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		n += info.Size()
	}
	return n
}

// killEnv makes the test binary a mirror that polls once, or is killed.
const killEnv = "BELAY_TEST_POLL"

// killPoints are the moments of a fetch at which it is killed; before is what lay in the directory of packs.
var killPoints = []func(dir string, before int) bool{
	func(dir string, _ int) bool { return len(glob(dir, "tmp_pack_*")) > 0 },
	func(dir string, _ int) bool { return largest(glob(dir, "tmp_pack_*")) > 0 },
	func(dir string, _ int) bool { return largest(glob(dir, "tmp_pack_*")) > 100_000 },
	func(dir string, _ int) bool { return largest(glob(dir, "tmp_pack_*")) > 300_000 }, // all of it
	func(dir string, _ int) bool { return len(glob(dir, "tmp_idx_*")) > 0 },
	func(dir string, before int) bool { return len(glob(dir, "pack-*.idx")) > before },
	func(dir string, before int) bool { return len(glob(dir, "pack-*.pack")) > before },
	func(dir string, _ int) bool { return len(glob(dir, "../../refs/heads/tmp_*")) > 0 },
}

func glob(dir, pattern string) []string {
	found, _ := filepath.Glob(filepath.Join(dir, "objects", "pack", pattern)) // the pattern is well-formed
	return found
}

func largest(paths []string) (n int64) {
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil {
			n = max(n, info.Size())
		}
	}
	return n
}

// A mirror killed at many points of a fetch needs no help afterwards.
func TestKilledAmidAFetch(t *testing.T) {
	if dir := os.Getenv(killEnv); dir != "" {
		poll(t, openMirror(t, Config{
			Name: "x", URL: os.Getenv(killEnv + "_URL"), Branch: "main", Dir: dir,
			Auth: Auth{KeyFile: os.Getenv(killEnv + "_KEY"), KnownHostsFile: os.Getenv(killEnv + "_HOSTS")},
		}))
		return
	}
	t.Parallel()
	for _, way := range []int{0, 1, 3} {
		tr := transports[way]
		t.Run(tr.name, func(t *testing.T) {
			r := newRepo(t)
			old := r.commit("main", "start", map[string]string{"f": "0", "big": noise(400_000)})
			cfg := tr.config(t, r)
			at, killed := old, 0
			for i, reached := range killPoints {
				at = r.commit("main", fmt.Sprint("c", i), map[string]string{"f": fmt.Sprint(i), "big": noise(400_000 + i)[i:]})
				before := len(glob(cfg.Dir, "pack-*.pack"))
				cmd := exec.Command(os.Args[0], "-test.run", "^TestKilledAmidAFetch$")
				cmd.Env = append(os.Environ(), killEnv+"="+cfg.Dir, killEnv+"_URL="+cfg.URL,
					killEnv+"_KEY="+cfg.Auth.KeyFile, killEnv+"_HOSTS="+cfg.Auth.KnownHostsFile)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				tick := time.NewTicker(200 * time.Microsecond)
				for !reached(cfg.Dir, before) && !exited(cmd) {
					<-tick.C
				}
				tick.Stop()
				_ = cmd.Process.Kill() // it may have ended
				if cmd.Wait() != nil {
					killed++
				}
				// What a killed one left is served, or not: never half.
				m := openMirror(t, cfg)
				if head := m.Head().Commit; head != "" {
					if _, err := readAll(snapshot(t, m), head); err != nil {
						t.Errorf("after kill %d: %v", i, err)
					}
				}
				m.Close()
			}
			m := openMirror(t, cfg)
			defer m.Close()
			if head := poll(t, m); head.Commit != at {
				t.Fatalf("head %+v, want %s", head, at)
			}
			s := snapshot(t, m)
			if files, err := readAll(s, at); err != nil || files["f"] != fmt.Sprint(len(killPoints)-1) {
				t.Error(err)
			}
			if list := steps(t, s, old, at, 0); len(list) != len(killPoints) {
				t.Errorf("%d steps", len(list))
			}
			fsck(t, cfg.Dir)
			if _, err := os.Stat(cfg.Dir + ".bad"); err == nil {
				t.Error("a mirror was set aside")
			}
			t.Logf("killed %d of %d", killed, len(killPoints))
		})
	}
}

// exited tells whether a child has ended and is not waited for yet.
func exited(cmd *exec.Cmd) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
	if err != nil {
		return true
	}
	for i := len(data) - 1; i >= 0; i-- {
		if data[i] == ')' {
			return i+2 < len(data) && data[i+2] == 'Z'
		}
	}
	return true
}
