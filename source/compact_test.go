package source

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
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

// killEnv makes the test binary a mirror that polls until it is killed.
const killEnv = "BELAY_TEST_POLL"

// A mirror killed at many points of a fetch needs no help afterwards.
func TestKilledAmidAFetch(t *testing.T) {
	if dir := os.Getenv(killEnv); dir != "" {
		m := openMirror(t, Config{Name: "x", URL: os.Getenv(killEnv + "_URL"), Branch: "main", Dir: dir})
		poll(t, m)
		return
	}
	t.Parallel()
	r := newRepo(t)
	old := r.commit("main", "start", map[string]string{"f": "0", "big": noise(200_000)})
	w := serveHTTP(t, r)
	for way, url := range map[string]string{"path": r.dir, "http": w.URL + "/remote.git"} {
		cfg := r.config()
		cfg.URL, cfg.Dir = url, filepath.Join(t.TempDir(), "mirror")
		at := Hash(r.git("", "rev-parse", "main"))
		killed := 0
		for i := range 8 {
			files := map[string]string{"f": fmt.Sprint(i), "big": noise(200_000 + i)}
			at = r.commit("main", fmt.Sprint("c", i), files)
			cmd := exec.Command(os.Args[0], "-test.run", "^TestKilledAmidAFetch$")
			cmd.Env = append(os.Environ(), killEnv+"="+cfg.Dir, killEnv+"_URL="+cfg.URL)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			// Wait until so many files lie there, then kill: each round ends at another point.
			for n := 0; n < 1+i%6; {
				found, _ := filepath.Glob(filepath.Join(cfg.Dir, "objects", "pack", "*"))
				if n = len(found) - i; exited(cmd) {
					break
				}
			}
			_ = cmd.Process.Kill()
			if cmd.Wait() != nil {
				killed++
			}
		}
		m := openMirror(t, cfg)
		if head := poll(t, m); head.Commit != at {
			t.Fatalf("%s: head %+v, want %s", way, head, at)
		}
		s := snapshot(t, m)
		if files, err := readAll(s, at); err != nil || files["f"] != "7" {
			t.Errorf("%s: %v", way, err)
		}
		if list := steps(t, s, old, at, 0); len(list) < 8 {
			t.Errorf("%s: %d steps", way, len(list))
		}
		fsck(t, cfg.Dir)
		t.Logf("%s: killed %d of 8", way, killed)
		m.Close()
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
