package forge

import (
	"net/url"
	"slices"
	"strings"
)

// host is a kind of Git host: how its name shows in an address, and where it compares branches.
type host struct {
	names   []string // parts of a host's name
	compare func(site, path, target, branch string) string
}

// hosts are tried in order.
var hosts = []host{
	{[]string{"github"}, func(site, path, target, branch string) string {
		return site + path + "/compare/" + escape(target) + "..." + escape(branch) + "?expand=1"
	}},
	{[]string{"gitlab"}, func(site, path, target, branch string) string {
		return site + path + "/-/merge_requests/new?" + query("merge_request[source_branch]", branch, "merge_request[target_branch]", target)
	}},
	{[]string{"gitea", "forgejo", "codeberg"}, func(site, path, target, branch string) string {
		return site + path + "/compare/" + escape(target) + "..." + escape(branch)
	}},
	{[]string{"bitbucket.org"}, func(site, path, target, branch string) string {
		return site + path + "/pull-requests/new?" + query("source", branch, "dest", target)
	}},
	{[]string{"bitbucket"}, func(site, path, target, branch string) string {
		project, repository, ok := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(path, "/scm"), "/"), "/")
		if !ok {
			return ""
		}
		return site + "/projects/" + project + "/repos/" + repository + "/pull-requests?create&" +
			query("sourceBranch", "refs/heads/"+branch, "targetBranch", "refs/heads/"+target)
	}},
}

// Compare returns the address where a person sees what a branch brings to the target branch, and can merge it: of GitHub,
// GitLab, Gitea, Forgejo and Bitbucket. repository is an address that git clone takes. It is "" when the address does not
// tell which of these the host is.
func Compare(repository, target, branch string) string {
	name, site, path := split(repository)
	if strings.Count(path, "/") < 2 {
		return ""
	}
	for _, h := range hosts {
		if slices.ContainsFunc(h.names, func(part string) bool { return strings.Contains(name, part) }) {
			return h.compare(site, path, target, branch)
		}
	}
	return ""
}

// split cuts an address into the host's name, the root of its web pages, and the path of the repository there.
func split(repository string) (name, site, path string) {
	if !strings.Contains(repository, "://") { // user@host:path
		before, rest, ok := strings.Cut(repository, ":")
		if !ok || strings.Contains(before, "/") {
			return "", "", ""
		}
		repository = "ssh://" + before + "/" + strings.TrimPrefix(rest, "/")
	}
	u, err := url.Parse(repository)
	if err != nil {
		return "", "", ""
	}
	name = strings.ToLower(u.Hostname())
	path = "/" + strings.Trim(strings.TrimSuffix(strings.Trim(u.EscapedPath(), "/"), ".git"), "/")
	switch {
	case u.Scheme == "http" || u.Scheme == "https":
		return name, u.Scheme + "://" + u.Host, path
	case strings.Contains(u.Scheme, "ssh"): // its port is not that of the web pages
		return name, "https://" + u.Hostname(), path
	}
	return "", "", ""
}

// escape keeps the slashes of a branch's name.
func escape(branch string) string { return (&url.URL{Path: branch}).EscapedPath() }

func query(pairs ...string) string {
	var parts []string
	for i := 0; i < len(pairs); i += 2 {
		parts = append(parts, url.QueryEscape(pairs[i])+"="+url.QueryEscape(pairs[i+1]))
	}
	return strings.Join(parts, "&")
}
