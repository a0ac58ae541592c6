package manifests

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/belay-dev/belay/manifests/schema"
)

// noHostPID is what somebody finds who cannot share the machine's processes.
func noHostPID(by string) Survey {
	return Survey{By: by, Of: func(o schema.Object) []Finding {
		if d, ok := o.(*appsv1.Deployment); ok && d.Spec.Template.Spec.HostPID {
			return []Finding{{Field: "spec.template.spec.hostPID", Message: "is not supported"}}
		}
		return nil
	}}
}

func surveyTree() *memTree {
	shared := func(name string) string {
		return strings.Replace(benchDeployment(name, 1), "      containers:", "      hostPID: true\n      containers:", 1)
	}
	return newMemTree(map[string]string{
		"a/d.yaml":             shared("web"),
		"b/kustomization.yaml": "resources: [d.yaml]\n",
		"b/d.yaml":             shared("batch"),
		"c/d.yaml":             benchDeployment("plain", 1),
	})
}

// What is not honoured is named at its place, and applied.
func TestSurvey(t *testing.T) {
	t.Parallel()
	blobs := &memBlobs{}
	c := NewCache(oneApp, Options{Survey: noHostPID("one"), Blobs: blobs})
	u := mustSync(t, c, surveyTree(), "c1")
	var got []string
	for _, p := range u.Problems {
		got = append(got, p.String())
	}
	want := []string{
		"a/d.yaml:14: spec.template.spec.hostPID: is not supported (Unsupported)",
		"b/d.yaml:14: spec.template.spec.hostPID: is not supported (Unsupported)",
	}
	if !slices.Equal(got, want) || len(c.Objects()) != 3 || c.Stale("app") {
		t.Errorf("%d objects, problems:\n%s", len(c.Objects()), strings.Join(got, "\n"))
	}
	again := NewCache(oneApp, Options{Survey: noHostPID("one"), Blobs: blobs})
	if u := mustSync(t, again, surveyTree(), "c1"); u.Rendered != 0 || len(u.Problems) != 2 {
		t.Errorf("after a restart: %s", describe(u))
	}
	// Somebody else honours everything.
	other := NewCache(oneApp, Options{Survey: Survey{By: "other"}, Blobs: blobs})
	if u := mustSync(t, other, surveyTree(), "c1"); u.Rendered != 3 || len(u.Problems) != 0 {
		t.Errorf("with another survey: %s", describe(u))
	}
	fork, err := NewCache(oneApp, Options{Survey: noHostPID("one")}).Fork(t.Context(), surveyTree(), "c1")
	if err != nil || len(fork.Problems()) != 2 {
		t.Errorf("of a fork: %v, %v", fork.Problems(), err)
	}
}
