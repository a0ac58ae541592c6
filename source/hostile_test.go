package source

// What others put into repositories, say on the wire, and do to the mirror, and the test that plays it. A behaviour is a
// row of TestConformance, and so holds over a path, HTTP and SSH in both versions of the protocol.
//
//	force-push ahead, behind, sideways          TestConformance, TestStepsBetweenHeads, TestStepsAgreeWithRevList
//	force-push to unrelated history             TestConformance, TestStepsBetweenHeads
//	branch deleted, branch created again        TestConformance
//	HEAD dangling                               TestConformance
//	empty repository; filled; emptied           TestConformance
//	first commit, without a parent              TestConformance, TestStepsBetweenHeads
//	merge, octopus                              TestConformance, TestStepsAgreeWithRevList
//	empty commit                                TestConformance
//	commit reverted, then the revert            TestConformance
//	100 commits in one push                     TestConformance, TestSeveralCommitsInOnePush
//	shallow server                              TestConformance, TestLocalRepositoriesThatCannotBeRead, TestGreetings
//	14,000 refs                                 TestConformance, TestPollWithoutChangeIsOneSmallRequest
//	ref names that escape, -x, unicode          TestRefNamesOfAServerTouchNothing, TestConfigThatCannotWork
//	redirect to another host, or to http        TestRedirects
//	401 then 200                                TestTokenIsReadAnewWhenItChanges
//	token rotated                               TestTokenIsReadAnewWhenItChanges
//	slow drip of a body                         TestSilenceEndsAtTheDeadline
//	silence after the headers                   TestSilenceEndsAtTheDeadline
//	silence before the banner of SSH            TestSSHSilence
//	truncated pack                              TestDamagedPacksOnTheWay, TestDamagedMirrorHealsWhenOpened
//	pack that inflates without end              TestBombs, TestBombFromAServer
//	kill -9 amid a fetch                        TestKilledAmidAFetch
//	kill -9 amid a push                         TestKilledAmidAPush, TestAnswerLost
//	disk full                                   TestFullDisk, TestDiskThatFillsUp
//	litter of a fetch                           TestDamagedMirrorHealsWhenOpened
//	pack without index                          TestDamagedMirrorHealsWhenOpened, TestDamageWhileRunningHealsWithTheNextPoll
//	flipped byte                                TestDamagedMirrorHealsWhenOpened, TestDamageWhileRunningHealsWithTheNextPoll
//	missing subtree                             TestMissingSubtreeIsAnError, TestHolesInOlderCommits
//	garbage in a ref, in HEAD, in config        TestDamagedMirrorHealsWhenOpened
//	two processes on one directory              e2e/cli, story.txtar: the lock of the data directory
//	foreign gc                                  TestForeignGC
//	clock that jumps                            TestClockJumps
//	alternates in the mirror                    TestDamagedMirrorHealsWhenOpened
//	core.worktree and include in the mirror     TestDamagedMirrorHealsWhenOpened
//
//	names .., .git, a/b; one twice              TestHostileNames
//	names with control characters, not UTF-8    TestOddNamesAreReadAsTheyAre
//	links out, to themselves, to directories    TestLinksAreNeverFollowed
//	submodule where a base should be            TestKindsOfEntries
//	pointer of LFS                              TestKindsOfEntries
//	executable bit alone                        TestExecutableBitAndSwapsChangeTheHash
//	file and directory swapped                  TestExecutableBitAndSwapsChangeTheHash
//	case-only rename                            TestExecutableBitAndSwapsChangeTheHash
//	blob of 1 GB                                TestHugeBlobIsNotLoaded
//	100,000 files                               TestManyFiles
//	depth of 1,000                              TestLimits
//	CRLF, BOM, UTF-16, tabs, no last newline    TestBytesAreReadAsTheyAre
//
//	no author; bad, negative and huge dates     TestCommitPeople, TestHostileCommitsAreFollowed
//	NUL, ANSI and latin1 in messages            TestCommitText, TestHostileCommitsAreFollowed
//	message of 1 MB                             TestHugeMessageIsBounded
//	no message                                  TestCommitText, TestHostileCommitsAreFollowed
//	message with --- and YAML                   TestCommitText, TestHostileCommitsAreFollowed
//	spoofed Revert                              TestCommitText, TestHostileCommitsAreFollowed

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The list above names tests that there are, and every line has one.
func TestHostileListIsTrue(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for _, path := range must(filepath.Glob("*_test.go")) {
		all.WriteString(must(readFile(path)))
	}
	list, _, _ := strings.Cut(must(readFile("hostile_test.go")), "import (")
	lines := regexp.MustCompile(`(?m)^//\t(.{43}) (.+)$`).FindAllStringSubmatch(list, -1)
	if len(lines) < 50 {
		t.Fatalf("%d lines", len(lines))
	}
	for _, l := range lines {
		names := regexp.MustCompile(`Test\w+`).FindAllString(l[2], -1)
		if script := regexp.MustCompile(`\w+\.txtar`).FindString(l[2]); script != "" {
			if _, err := os.Stat(filepath.Join("../e2e/cli/testdata", script)); err != nil {
				t.Error(err)
			}
			continue
		}
		if len(names) == 0 {
			t.Errorf("%s: no test", strings.TrimSpace(l[1]))
		}
		for _, name := range names {
			if !strings.Contains(all.String(), "\nfunc "+name+"(t *testing.T)") {
				t.Errorf("%s: there is no %s", strings.TrimSpace(l[1]), name)
			}
		}
	}
}

func TestLinksAreNeverFollowed(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	links := map[string]string{
		"absolute": "/etc/passwd", "out": "../../../etc/passwd", "self": "self", "dir": "inside", "to": "inside/f", "empty": "", "dangling": "nope", "nul": "a\x00b",
	}
	file := r.object("blob", "x")
	entries := [][2]string{{"40000 inside", r.git(fmt.Sprintf("100644 blob %s\tf\n", file), "mktree")}}
	for name, target := range links {
		entries = append(entries, [2]string{"120000 " + name, r.object("blob", target)})
	}
	tree, err := treeOf(t, r, entries...)
	if err != nil {
		t.Fatal(err)
	}
	for name, target := range links {
		if data, err := tree.ReadFile(name); err != nil || string(data) != target {
			t.Errorf("%s: %q, %v", name, data, err)
		}
		if list, err := tree.ReadDir(name); err == nil {
			t.Errorf("%s was followed to %v", name, list)
		}
		if _, err := tree.Stat(name + "/f"); !isNotExist(err) {
			t.Errorf("%s/f: %v", name, err)
		}
	}
}

// What is decoded, and how, is decided by who asked for the file.
func TestBytesAreReadAsTheyAre(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.git("", "config", "core.autocrlf", "true")
	want := map[string]string{
		"crlf": "a: 1\r\nb: 2\r\n", "bom": "\xef\xbb\xbfa: 1\n", "utf-16": "\xff\xfea\x00:\x00", "tabs": "a:\n\t- b\n", "no-newline": "a: 1",
		"nul": "a\x00b", "cr": "a\rb", ".gitattributes": "* text eol=crlf ident\n", "ident": "$Id$\n",
	}
	r.commit("main", "bytes", want)
	m := r.mirror()
	head := poll(t, m)
	got, err := readAll(snapshot(t, m), head.Commit)
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d files, %v", len(got), err)
	}
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s: %q, want %q", name, got[name], text)
		}
	}
}

// Commits that no tool should have written are steps like others, and what people see of them is clean.
func TestHostileCommitsAreFollowed(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.git("", "config", "transfer.fsckObjects", "false")
	tree := r.object("tree", "")
	good := "author A <a@b> 1700000000 +0000\ncommitter A <a@b> 1700000000 +0000\n"
	rows := []struct{ head, message, subject, person string }{
		{good, "plain\n", "plain", "A <a@b>"},
		{"", "no people\n", "no people", " <>"},
		{"author \ncommitter \n", "empty people\n", "empty people", " <>"},
		{"author A <a@b> -7 +0000\ncommitter A <a@b> 99999999999999999999 +9999\n", "dates\n", "dates", "A <a@b>"},
		{"author A\x1b[31m <a\x07@b> x y\ncommitter A <a@b> 1 +0000\n", "ansi \x1b[2Jhere\n", "ansi [2Jhere", "A[31m <a@b>"},
		{good, "", "", "A <a@b>"},
		{good, "nul\x00inside\n", "nulinside", "A <a@b>"},
		{good, "caf\xe9\n", "caf\uFFFD", "A <a@b>"},
		{good, "---\nkind: Deployment\n", "--- kind: Deployment", "A <a@b>"},
		{good, "Revert \"plain\"\n\nThis reverts commit " + strings.Repeat("f", 40) + ".\n", "Revert \"plain\"", "A <a@b>"},
	}
	var at Hash
	want := make([]string, 0, len(rows))
	for _, row := range rows {
		text := "tree " + tree + "\n"
		if at != "" {
			text += "parent " + string(at) + "\n"
		}
		at = Hash(r.object("commit", text+row.head+"\n"+row.message))
		want = append(want, row.subject+" | "+row.person)
		r.point("main", at)
	}
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			m := openMirror(t, tr.config(t, r))
			defer m.Close()
			head := poll(t, m)
			root := Hash(r.git("", "rev-list", "--max-parents=0", string(head.Commit)))
			s := snapshot(t, m)
			first, err := s.Commit(root)
			if err != nil {
				t.Fatal(err)
			}
			got := []string{first.Subject + " | " + first.Author + " <" + first.Email + ">"}
			for _, st := range steps(t, s, root, head.Commit, 0) {
				got = append(got, st.Commit.Subject+" | "+st.Commit.Author+" <"+st.Commit.Email+">")
			}
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

// A clock that jumps moves what is told of the time, and nothing else.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	clock := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			cfg := tr.config(t, r)
			now := clock
			cfg.Now = func() time.Time { return now }
			m := openMirror(t, cfg)
			defer m.Close()
			for i, jump := range []time.Duration{0, time.Hour, -20 * 365 * 24 * time.Hour, 50 * 365 * 24 * time.Hour, -time.Second} {
				now = clock.Add(jump)
				h := r.commit("main", fmt.Sprint(tr.name, i), map[string]string{"f": fmt.Sprint(i)})
				if head := poll(t, m); head.Commit != h || !head.At.Equal(now) || !head.Changed {
					t.Errorf("%s: head %+v, want %s", jump, head, h)
				}
				if head := poll(t, m); head.Changed {
					t.Errorf("%s: changed without a change", jump)
				}
			}
		})
	}
}

// What a server leaves out of a first clone without that the head shows it is an error, which names it, when it is read,
// and the next poll fetches anew.
func TestHolesInOlderCommits(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	h := history(r)
	deep := r.commit("main", "deep", map[string]string{"dir/sub/f": "once", "keep": "1"}, h["d"])
	last := r.commit("main", "last", map[string]string{"dir/sub/f": "now"})
	object := func(spec string) string { return r.git("", "rev-parse", spec) }
	reads := func(s *Snapshot, at Hash) error {
		_, err := readAll(s, at)
		return err
	}
	rows := []struct {
		name, object string
		read         func(*Snapshot) error
	}{
		{"subtree of an older commit", object(string(deep) + ":dir/sub"), func(s *Snapshot) error { return reads(s, deep) }},
		{"directory of an older commit", object(string(deep) + ":dir"), func(s *Snapshot) error { return reads(s, deep) }},
		{"root of an older commit", object(string(deep) + "^{tree}"), func(s *Snapshot) error { return reads(s, deep) }},
		{"file of an older commit", object(string(deep) + ":dir/sub/f"), func(s *Snapshot) error { return reads(s, deep) }},
		{"merged commit", string(h["y"]), func(s *Snapshot) error {
			_, err := s.Steps(t.Context(), h["x"], last, 0)
			return err
		}},
		{"merged commit that was the head", string(h["y"]), func(s *Snapshot) error {
			_, err := s.Steps(t.Context(), h["y"], last, 0)
			return err
		}},
		{"commit behind a merged one", string(h["x"]), func(s *Snapshot) error {
			_, err := s.Steps(t.Context(), h["u"], last, 0)
			return err
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := serveHTTP(t, r)
			w.fault(w.leaveOut(t, r, last, row.object))
			m := openMirror(t, w.config(r))
			defer m.Close()
			if head := poll(t, m); head.Commit != last {
				t.Fatalf("head %+v", head)
			}
			err := row.read(snapshot(t, m))
			wantKind(t, err, KindCorrupt)
			if !strings.Contains(err.Error(), row.object) || isNotExist(err) {
				t.Errorf("error %v, which should name %s", err, row.object)
			}
			w.fault(nil)
			if head := poll(t, m); head.Commit != last {
				t.Fatalf("head %+v", head)
			}
			if err := row.read(snapshot(t, m)); err != nil {
				t.Errorf("after healing: %v", err)
			}
			fsck(t, m.cfg.Dir)
		})
	}
	t.Run("in the head", func(t *testing.T) {
		t.Parallel()
		for _, spec := range []string{"", "^{tree}", ":dir", ":dir/sub", ":dir/sub/f", "~1"} {
			w := serveHTTP(t, r)
			w.fault(w.leaveOut(t, r, last, object(string(last)+spec)))
			m := openMirror(t, w.config(r))
			_, err := m.Poll(t.Context())
			wantKind(t, err, KindCorrupt)
			if m.Head().Commit != "" {
				t.Errorf("%s: the head is served", spec)
			}
			w.fault(nil)
			poll(t, m)
			m.Close()
		}
	})
}
