package forge_test

import (
	"testing"

	"github.com/belay-dev/belay/source/forge"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	const branch = "belay/rollback/01J8"
	rows := []struct{ repository, want string }{
		{"https://github.com/shop/deploy.git", "https://github.com/shop/deploy/compare/main...belay/rollback/01J8?expand=1"},
		{"git@github.com:shop/deploy.git", "https://github.com/shop/deploy/compare/main...belay/rollback/01J8?expand=1"},
		{"ssh://git@github.example.com:2222/shop/deploy", "https://github.example.com/shop/deploy/compare/main...belay/rollback/01J8?expand=1"},
		{"https://gitlab.com/a/b/c.git", "https://gitlab.com/a/b/c/-/merge_requests/new?merge_request%5Bsource_branch%5D=belay%2Frollback%2F01J8&merge_request%5Btarget_branch%5D=main"},
		{"http://gitea.local:3000/shop/deploy", "http://gitea.local:3000/shop/deploy/compare/main...belay/rollback/01J8"},
		{"https://codeberg.org/shop/deploy.git", "https://codeberg.org/shop/deploy/compare/main...belay/rollback/01J8"},
		{"git@forgejo.example.com:shop/deploy.git", "https://forgejo.example.com/shop/deploy/compare/main...belay/rollback/01J8"},
		{"https://bitbucket.org/shop/deploy.git", "https://bitbucket.org/shop/deploy/pull-requests/new?source=belay%2Frollback%2F01J8&dest=main"},
		{"https://bitbucket.example.com/scm/SHOP/deploy.git", "https://bitbucket.example.com/projects/SHOP/repos/deploy/pull-requests?create&sourceBranch=refs%2Fheads%2Fbelay%2Frollback%2F01J8&targetBranch=refs%2Fheads%2Fmain"},
		{"ssh://git@bitbucket.example.com:7999/SHOP/deploy.git", "https://bitbucket.example.com/projects/SHOP/repos/deploy/pull-requests?create&sourceBranch=refs%2Fheads%2Fbelay%2Frollback%2F01J8&targetBranch=refs%2Fheads%2Fmain"},
		{"https://git.example.com/shop/deploy.git", ""},
		{"https://github.com/deploy", ""},
		{"/srv/github/deploy.git", ""},
		{"./github.com:x/y", ""},
		{"file:///srv/github.com/a/b.git", ""},
		{"", ""},
		{"https://github.com/%zz/x", ""},
	}
	for _, row := range rows {
		if got := forge.Compare(row.repository, "main", branch); got != row.want {
			t.Errorf("%s: %s, want %s", row.repository, got, row.want)
		}
	}
	if got := forge.Compare("https://github.com/a/b", "a b?", "x#y"); got != "https://github.com/a/b/compare/a%20b%3F...x%23y?expand=1" {
		t.Errorf("names that need escapes: %s", got)
	}
}
