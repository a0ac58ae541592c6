package state

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func ids(rows []Row) []string {
	var list []string
	for _, r := range rows {
		list = append(list, r.ID)
	}
	return list
}

func testRow(id, name string, open bool) Row {
	return Row{ID: id, Namespace: "default", Name: name, Outcome: "Pending", Open: open}
}

// TestPastRows: what was before the first sync comes first, however late it is recorded, the oldest first.
func TestPastRows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openDir(t, dir)
	past := func(id string, nth int64) Write {
		return PutRow(Row{ID: id, Namespace: "default", Name: "web", Past: nth})
	}
	commit(t, s, past("first", 0), PutRow(Row{ID: "other", Namespace: "default", Name: "wea"}))
	commit(t, s, past("second", 0), past("newer", 1), past("oldest", 7), PutRow(Row{ID: "last", Namespace: "default", Name: "wec", Past: 9}))
	for range 2 {
		var ids []string
		for _, r := range s.Rows("default", "web") {
			ids = append(ids, r.ID)
		}
		now := s.Snapshot()
		if r := now.Newest("x")("default", "web"); r == nil || r.ID != "second" {
			t.Errorf("last row %+v", r)
		}
		if r := now.Newest("")("default", "web"); r != nil {
			t.Errorf("last row of another outcome %q", r.ID)
		}
		if want := []string{"oldest", "newer", "first", "second"}; !slices.Equal(ids, want) {
			t.Errorf("rows %v, want %v", ids, want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openDir(t, dir)
	}
}

func TestRows(t *testing.T) {
	t.Parallel()
	s := open(t)
	commit(t, s, PutRow(testRow("z", "web", true)), PutRow(testRow("y", "api", true)))
	commit(t, s, PutRow(testRow("x", "web", true)))
	commit(t, s, PutRow(testRow("w", "web-2", false)))

	check := func(what string, got []Row, want ...string) {
		t.Helper()
		if !slices.Equal(ids(got), want) {
			t.Errorf("%s: got %v, want %v", what, ids(got), want)
		}
	}
	check("web", s.Rows("default", "web"), "z", "x")
	check("none", s.Rows("default", "we"))
	check("open", s.OpenRows(), "z", "y", "x")

	// A row keeps its number, whatever it is given.
	again := testRow("z", "web", false)
	again.Number, again.Outcome, again.Template = 99, "Complete", "t"
	commit(t, s, PutRow(again))
	got, ok := s.Row("z")
	again.Number = 1
	if diff := cmp.Diff(again, got); diff != "" || !ok {
		t.Errorf("row (-want +got):\n%s", diff)
	}
	check("open", s.OpenRows(), "y", "x")
	check("web", s.Rows("default", "web"), "z", "x")
	again.Open = true
	commit(t, s, PutRow(again))
	check("open again", s.OpenRows(), "z", "y", "x")

	for _, r := range []Row{testRow("z", "api", false), testRow("", "web", false), testRow("new", "", false)} {
		if _, err := s.Commit(PutRow(testRow("lost", "web", true)), PutRow(r)); err == nil {
			t.Errorf("%+v was taken", r)
		}
	}
	if _, err := s.Commit(PutRow(testRow("z", "api", false))); err == nil || err.Error() != "ledger row z: is of default/web, not of default/api" {
		t.Errorf("moved: %v", err)
	}
	check("after refusals", s.OpenRows(), "z", "y", "x")
	if _, ok := s.Row("lost"); ok {
		t.Error("a refused row is there")
	}
	commit(t, s, PutRow(testRow("v", "web", true)))
	if r, _ := s.Row("v"); r.Number != 5 {
		t.Errorf("number %d after refusals", r.Number)
	}
}

// TestLedgerSharesNothing: who changes what they gave, or adds to what they were given, changes nothing of the store.
func TestLedgerSharesNothing(t *testing.T) {
	t.Parallel()
	s := open(t)
	roomy := func(all ...string) []string { return slices.Grow(all, 8) }
	r := testRow("a", "web", true)
	r.Images = roomy("web:1")
	c := Commit{Source: "shop", Step: 1, Hash: "aa", Rows: roomy("a"), Commits: roomy("aa", "bb")}
	cursor := Cursor{Source: "shop", Roots: map[string]string{"a": "b"}}
	tpl := Template{Hash: "t", Template: template("web")}
	commit(t, s, PutRow(r), PutCommit(c), PutCursor(cursor), PutTemplate(tpl))
	r.Images[0], c.Rows[0], c.Commits[0] = "bad", "bad", "bad"
	for range 3 {
		cursor.Roots["a"], tpl.Template.Spec.Containers[0].Image = "bad", "bad"
		r, _ = s.Row("a")
		c, _ = s.CommitAt("shop", 1)
		cursor, _ = s.Cursor("shop")
		tpl, _ = s.Template("t")
		if r.Images[0] != "web:1" || c.Rows[0] != "a" || c.Commits[0] != "aa" || cursor.Roots["a"] != "b" ||
			tpl.Template.Spec.Containers[0].Image == "bad" {
			t.Errorf("changed from outside: %v %v %v", r, c, cursor)
		}
		rows := slices.Concat([]Row{r}, s.Rows("default", "web"), s.OpenRows(), s.RowsOf("shop", 1))
		var all [][]string
		for _, row := range rows {
			all = append(all, row.Images)
		}
		for _, c := range slices.Concat([]Commit{c}, s.Commits("shop", 0), s.FindCommits("", "aa")) {
			all = append(all, c.Rows, c.Commits)
		}
		if len(all) != 10 {
			t.Fatalf("read %d lists", len(all))
		}
		for _, list := range all {
			if len(list) != cap(list) {
				t.Errorf("who appends to %v writes into the store", list)
			}
		}
	}
}

func TestCommits(t *testing.T) {
	t.Parallel()
	s := open(t)
	hash := func(n int) string { return fmt.Sprintf("%02x%038d", n%7, n%7) } // steps 7 apart are of one commit
	for step := int64(12); step > 0; step-- {
		commit(t, s, PutCommit(Commit{Source: "shop", Step: step, Hash: hash(int(step))}))
	}
	commit(t, s, PutCommit(Commit{Source: "shop2", Step: 1, Hash: hash(1)}),
		PutCommit(Commit{Source: "other", Step: 3, Hash: "ff01", Commits: []string{"ee02", "ee03", "ff01"}}))

	steps := func(list []Commit) []string {
		var got []string
		for _, c := range list {
			got = append(got, fmt.Sprint(c.Source, " ", c.Step))
		}
		return got
	}
	for _, c := range []struct {
		what string
		got  []Commit
		want string
	}{
		{"all", s.Commits("shop2", 0), "shop2 1"},
		{"newest", s.Commits("shop", 3), "shop 10,shop 11,shop 12"},
		{"none", s.Commits("sho", 0), ""},
		{"newest step of a hash", s.FindCommits("shop", "01"), "shop 8"},
		{"in all sources", s.FindCommits("", hash(1)), "shop 8,shop2 1"},
		{"ambiguous", s.FindCommits("shop", "0"), "shop 6,shop 7,shop 8,shop 9,shop 10,shop 11,shop 12"},
		{"covered", s.FindCommits("other", "ee02"), "other 3"},
		{"covered twice", s.FindCommits("other", "ee"), "other 3"},
		{"its own", s.FindCommits("other", "ff"), "other 3"},
		{"unknown", s.FindCommits("", "ff02"), ""},
		{"nothing", s.FindCommits("", ""), ""},
	} {
		if got := strings.Join(steps(c.got), ","); got != c.want {
			t.Errorf("%s: got %s, want %s", c.what, got, c.want)
		}
	}
	if got := s.Commits("shop", 0); len(got) != 12 || got[0].Step != 1 {
		t.Errorf("all: %v", steps(got))
	}

	// A step that is put again loses its old hashes.
	commit(t, s, PutCommit(Commit{Source: "other", Step: 3, Hash: "ff02"}))
	if s.FindCommits("", "ff01") != nil || s.FindCommits("", "ee") != nil || len(s.FindCommits("", "ff02")) != 1 {
		t.Error("old hashes are still found")
	}
	if _, err := s.Commit(PutCommit(Commit{Source: "shop", Hash: "aa"})); err == nil {
		t.Error("a commit without step was taken")
	}

	commit(t, s, PutRow(testRow("b", "web", false)), PutRow(testRow("a", "api", false)),
		PutCommit(Commit{Source: "shop", Step: 13, Hash: "aa", Rows: []string{"a", "b", "not yet"}}))
	if got := ids(s.RowsOf("shop", 13)); !slices.Equal(got, []string{"b", "a"}) {
		t.Errorf("rows %v", got)
	}
	if s.RowsOf("shop", 14) != nil {
		t.Error("rows of no step")
	}
}

func TestInventoryAndHolds(t *testing.T) {
	t.Parallel()
	s := open(t)
	web, api := Key{KindDeployment, "default", "web"}, Key{KindConfigMap, "default", "api"}
	commit(t, s, PutManaged(Managed{Key: web, Source: "shop"}), PutManaged(Managed{Key: api, Source: "shop"}),
		PutManaged(Managed{Key: Key{KindService, "default", "web"}, Source: "a"}))
	list := func(source string) string {
		var got []string
		for _, m := range s.Inventory(source) {
			got = append(got, m.Source+" "+m.Key.String())
		}
		return strings.Join(got, ", ")
	}
	if got := list("shop"); got != "shop ConfigMap default/api, shop Deployment default/web" {
		t.Errorf("inventory: %s", got)
	}
	if got := list(""); got != "a Service default/web, shop ConfigMap default/api, shop Deployment default/web" {
		t.Errorf("all: %s", got)
	}
	commit(t, s, PutManaged(Managed{Key: web, Source: "z", Commit: "c"}), RemoveManaged(api), RemoveManaged(Key{KindPod, "x", "y"}))
	if m, ok := s.Managed(web); !ok || m.Source != "z" || list("shop") != "" || list("z") != "z Deployment default/web" {
		t.Errorf("moved: %+v, %s", m, list(""))
	}
	if _, ok := s.Managed(api); ok {
		t.Error("removed and still there")
	}

	until := time.Date(2026, 3, 2, 1, 2, 3, 4, time.FixedZone("CET", 3600))
	commit(t, s, PutHold(Hold{ID: "1", Namespace: "default", Name: "web", Until: until}), PutHold(Hold{ID: "2", Namespace: "default", Name: "api"}))
	commit(t, s, PutHold(Hold{ID: "3", Namespace: "default", Name: "api"}))
	want := []Hold{{ID: "3", Namespace: "default", Name: "api"}, {ID: "1", Namespace: "default", Name: "web", Until: until.UTC()}}
	if diff := cmp.Diff(want, s.Holds()); diff != "" {
		t.Errorf("holds (-want +got):\n%s", diff)
	}
	if h, ok := s.Hold("default", "web"); !ok || h.Until.Location() != time.UTC {
		t.Errorf("hold %+v", h)
	}
	commit(t, s, RemoveHold("default", "web"))
	if _, ok := s.Hold("default", "web"); ok || len(s.Holds()) != 1 {
		t.Error("removed and still there")
	}
}

func TestTemplatesAreKeptOnce(t *testing.T) {
	t.Parallel()
	s := open(t)
	commit(t, s, PutTemplate(Template{Hash: "t", Template: template("web")}))
	version := s.Version()
	r := commit(t, s, PutTemplate(Template{Hash: "t", Template: template("other")}))
	got, ok := s.Template("t")
	if !ok || got.Template.Spec.Containers[0].Name != "web" || r.Version != version {
		t.Errorf("got %+v at %d", got, r.Version)
	}
}

func TestConfigsAreKeptOnce(t *testing.T) {
	t.Parallel()
	s := open(t)
	want := Config{Hash: "c", Kind: KindConfigMap, Text: map[string]string{"a": "b"}, Data: map[string][]byte{"raw": {1}}}
	given := *copyConfig(&want)
	commit(t, s, PutConfig(given))
	given.Text["a"], given.Data["raw"][0] = "bad", 9
	version := s.Version()
	r := commit(t, s, PutConfig(Config{Hash: "c", Kind: KindConfigMap}))
	if r.Version != version {
		t.Errorf("put again at %d, was at %d", r.Version, version)
	}
	for range 2 {
		got, ok := s.Config("c")
		if diff := cmp.Diff(want, got); diff != "" || !ok {
			t.Errorf("config (-want +got):\n%s", diff)
		}
		got.Text["a"], got.Data["raw"][0] = "bad", 9
	}
	if _, err := s.Commit(PutConfig(Config{Hash: "lost"}), PutConfig(Config{})); err == nil {
		t.Error("a config without a hash was taken")
	}
	if _, ok := s.Config("lost"); ok {
		t.Error("a refused config is there")
	}
}

func TestLedgerOnlyTransactions(t *testing.T) {
	t.Parallel()
	s := open(t)
	r := row(1, "web")
	first := commit(t, s, PutRow(r), PutCursor(Cursor{Source: "shop", Step: 1}))
	if first.Version != 2 || first.Objects != nil {
		t.Errorf("receipt %+v", first)
	}
	local := r
	local.CommittedAt = r.CommittedAt.In(time.FixedZone("CET", 3600))
	if again := commit(t, s, PutRow(local), PutCursor(Cursor{Source: "shop", Step: 1, Roots: map[string]string{}})); again.Version != 2 {
		t.Errorf("nothing changed, and the version is %d", again.Version)
	}
}

func TestWhatCannotBeWrittenIsRefused(t *testing.T) {
	t.Parallel()
	s := open(t)
	for name, write := range map[string]Write{
		"row":      PutRow(Row{ID: "a", Namespace: "b", Name: "c", EndedAt: time.Date(math.MaxInt16, 1, 1, 0, 0, 0, 0, time.UTC)}),
		"cursor":   PutCursor(Cursor{}),
		"template": PutTemplate(Template{}),
		"config":   PutConfig(Config{}),
		"managed":  PutManaged(Managed{}),
		"hold":     PutHold(Hold{}),
	} {
		if _, err := s.Commit(write); err == nil || !strings.HasPrefix(err.Error(), "ledger") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestColdValues: what is durable is read from disk, and is not kept in memory; what cannot be read is not found.
func TestColdValues(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openDir(t, dir)
	want := Template{Hash: "t", Template: template("web")}
	commit(t, s, PutTemplate(want), PutConfig(Config{Hash: "c", Kind: KindConfigMap, Text: map[string]string{"a": "b"}}))
	inMemory := func() int { return len(s.ledger.templates.fresh) + len(s.ledger.configs.fresh) }
	if inMemory() != 2 {
		t.Errorf("%d values in memory before they are durable", inMemory())
	}
	mustDurable(t, s)
	commit(t, s, PutRow(testRow("a", "web", true))) // the next transaction drops them
	if inMemory() != 0 || len(s.ledger.chilling) != 0 {
		t.Errorf("%d values in memory", inMemory())
	}
	check := func() {
		t.Helper()
		got, ok := s.Template("t")
		if diff := cmp.Diff(want, got); diff != "" || !ok {
			t.Errorf("template (-want +got):\n%s", diff)
		}
		if c, ok := s.Config("c"); !ok || c.Text["a"] != "b" {
			t.Errorf("config %+v", c)
		}
	}
	check()
	if r := commit(t, s, PutTemplate(want)); r.Version != s.Version() || inMemory() != 0 {
		t.Error("put again")
	}
	if _, ok := s.Template("other"); ok {
		t.Error("found what never was")
	}
	closeStore(t, s)
	if _, ok := s.Template("t"); ok {
		t.Error("read from a closed file")
	}
	s = openDir(t, dir)
	if inMemory() != 0 {
		t.Errorf("%d values in memory after the start", inMemory())
	}
	check()
	memory, err := OpenMemory(testOptions())
	if err != nil {
		t.Fatal(err)
	}
	commit(t, memory, PutTemplate(want))
	commit(t, memory, PutRow(testRow("a", "web", true)))
	if _, ok := memory.Template("t"); !ok {
		t.Error("a store in memory forgets")
	}
}

// TestEveryFieldIsKept: whatever a ledger value holds is read back as it was.
func TestEveryFieldIsKept(t *testing.T) {
	t.Parallel()
	for _, v := range []any{&Row{}, &Commit{}, &Cursor{}, &Managed{}, &Hold{}, &Config{}} {
		words := "not UTF-8: \xff"
		if _, text := v.(*Config); text {
			words = "\u00e9"
		}
		fillIn(t, reflect.ValueOf(v).Elem(), words)
		content, err := encodeValue(v)
		if err != nil {
			t.Fatal(err)
		}
		got := reflect.New(reflect.TypeOf(v).Elem()).Interface()
		if _, text := v.(*Config); text {
			err = json.Unmarshal(content, got)
		} else {
			err = valueDecoding.Unmarshal(content, got)
		}
		if diff := cmp.Diff(v, got); diff != "" || err != nil {
			t.Errorf("%T: %v (-want +got):\n%s", v, err, diff)
		}
	}
}

// fillIn gives every field a value of its own.
func fillIn(t *testing.T, v reflect.Value, words string) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString(words)
	case reflect.Int64, reflect.Int:
		v.SetInt(7)
	case reflect.Uint8:
		v.SetUint(200)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillIn(t, v.Elem(), words)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fillIn(t, v.Index(i), words)
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fillIn(t, key, words)
		fillIn(t, value, words)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		if at, ok := v.Addr().Interface().(*time.Time); ok {
			*at = epoch.Add(123456789)
			return
		}
		for i := range v.NumField() {
			fillIn(t, v.Field(i), words)
		}
	default:
		t.Fatalf("nothing to fill a %s with", v.Type())
	}
}
