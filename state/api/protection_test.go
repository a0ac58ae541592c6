package api

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/state"
)

func checkProtection(t *testing.T, s *served) {
	ctx, client := t.Context(), s.as(t, RoleEdit).CoreV1().Namespaces()
	for _, name := range []string{"of-git", "free"} {
		if _, err := client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	key := state.Key{Kind: state.KindService, Namespace: "of-git", Name: "web"}
	if _, err := s.store.Commit(state.PutManaged(state.Managed{Key: key, Source: "guarded", File: "web.yaml"})); err != nil {
		t.Fatal(err)
	}
	for name, why := range map[string]string{
		"default": `namespaces "default" is forbidden: this namespace may not be deleted`,
		"of-git":  `namespaces "of-git" is forbidden: git manages what is in it: Service of-git/web, of web.yaml`,
	} {
		if err := client.Delete(ctx, name, metav1.DeleteOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), why) {
			t.Errorf("deleted %s: %v", name, err)
		}
	}
	if err := client.Delete(ctx, "free", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if ns, err := client.Get(ctx, "free", metav1.GetOptions{}); err != nil || ns.Status.Phase != corev1.NamespaceTerminating {
		t.Errorf("%v, %v; nothing empties it here", ns, err)
	}
}
