package state

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func testOptions() Options {
	return Options{Now: func() time.Time { return epoch }}
}

func open(t *testing.T) *Store {
	t.Helper()
	s, err := OpenMemory(testOptions())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestCreateAndRead(t *testing.T) {
	t.Parallel()
	s := open(t)
	given := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Data: map[string]string{"a": "b"}}
	receipt, err := s.Commit(Create(given), PutHold(Hold{Namespace: "default", Name: "web", ID: "h1"}))
	if err != nil {
		t.Fatal(err)
	}
	got, ok := Get[*corev1.ConfigMap](s, "default", "web")
	if !ok || got.UID == "" || got.Data["a"] != "b" || Object(got) != receipt.Objects[0] {
		t.Errorf("got %v %v", got, ok)
	}
	if h, ok := s.Hold("default", "web"); !ok || h.ID != "h1" {
		t.Errorf("hold %v %v", h, ok)
	}
}
