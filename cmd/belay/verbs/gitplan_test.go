package verbs

import (
	"strings"
	"testing"

	"github.com/belay-dev/belay/cmd/belay/control"
)

func TestGitPlan(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	gitPlan(&b, control.GitChange{
		Undo: []string{"3f2a91c0000000000000000000000000000000aa"}, Files: []string{"apps/web.yaml"}, Objects: []string{"ConfigMap shop/conf\x1b[2J"},
		Failed: []string{"revert: web.yaml:3: changed on both sides (Conflict)"}, Hint: "git revert 3f2a91c",
	})
	const want = `  reverts 3f2a91c
  touches apps/web.yaml
  also changes ConfigMap shop/conf�[2J
  not revert: web.yaml:3: changed on both sides (Conflict)
  hint: git revert 3f2a91c
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	b.Reset()
	if gitPlan(&b, control.GitChange{Mode: "hold", State: "none", Why: "only a hold was asked for"}); b.Len() > 0 {
		t.Errorf("without a plan: %q", b.String())
	}
}
