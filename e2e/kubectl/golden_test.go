package kubectl

import (
	"flag"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files with what was printed")

// changing is what differs from one run to the next, and what a golden file has instead. Columns are as wide as the
// widest of what is in them, so that their width goes too.
var changing = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`\b(pod/)?([a-z0-9-]+-[a-z0-9]{8,10})-[a-z0-9]{5}\b`), "$1$2-xxxxx"},
	{regexp.MustCompile(`[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [-+]\d{4}`), "TIME"},
	{regexp.MustCompile(`  ([0-9]{1,4}[smhdy]){1,2}( \(x([0-9]+) over ([0-9]{1,4}[smhdy]){1,2}\))?`), "  AGE$2"},
	{regexp.MustCompile(` over ([0-9]{1,4}[smhdy]){1,2}\)`), " over AGE)"},
	{regexp.MustCompile(` {2,}`), "  "},
	{regexp.MustCompile(`\b[0-9]{1,3}(\.[0-9]{1,3}){3}\b`), "ADDRESS"},
	{regexp.MustCompile(`\b[0-9]{2}:[0-9]{2}\b`), "TIME"},
	{regexp.MustCompile(`\b01[0-9a-z]{16}\b`), "ID"},
	{regexp.MustCompile(`\b` + regexp.QuoteMeta(whoami()) + `\b`), "USER"},
	{regexp.MustCompile(`(?m) +$`), ""},
	{regexp.MustCompile(`-{4,}`), "----"},
}

// whoami is who runs the tests, and with them the service.
func whoami() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "nobody knows who"
}

// golden compares what was printed last with testdata/golden/NAME.txt. The files are as the kubectl of this module's
// libraries prints: what one that is installed prints is not compared.
func golden(ts *testscript.TestScript, _ bool, args []string) {
	if filepath.IsAbs(ts.Getenv("KUBECTL")) {
		return
	}
	got := strings.NewReplacer(ts.Getenv("WORK"), "$WORK", ts.Getenv("SITE"), "$SITE").Replace(ts.ReadFile("stdout"))
	for _, c := range changing {
		got = c.re.ReplaceAllString(got, c.to)
	}
	name := filepath.Join(goldenDir, args[0]+".txt")
	if *rewrite {
		ts.Check(os.MkdirAll(goldenDir, 0o755))
		ts.Check(os.WriteFile(name, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(name)
	ts.Check(err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		ts.Fatalf("%s (-want +got):\n%s", name, diff)
	}
}

// goldenDir is absolute: scripts change their directory.
var goldenDir = func() string {
	dir, err := filepath.Abs(filepath.Join("testdata", "golden"))
	if err != nil {
		panic(err) // the directory of the test is there
	}
	return dir
}()

// TestChanging: what changes is taken out, and the rest stays.
func TestChanging(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"pod/web-6c47f4b4f4-8sjtc   1/1     Running   0          2m5s\n": "pod/web-6c47f4b4f4-xxxxx  1/1  Running  0  AGE\n",
		"web-6c47f4b4f4   3   3   3   14s\n":                             "web-6c47f4b4f4  3  3  3  AGE\n",
		"Normal  ScalingReplicaSet  62s (x3 over 11m)  x\n":              "Normal  ScalingReplicaSet  AGE (x3 over AGE)  x\n",
		"CreationTimestamp:      Sun, 22 Nov 2026 05:27:51 +0000\n":      "CreationTimestamp:  TIME\n",
		"main@489900d   489900d   14d ago\n":                             "main@489900d  489900d  AGE ago\n",
	} {
		got := text
		for _, c := range changing {
			got = c.re.ReplaceAllString(got, c.to)
		}
		if got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
