package api

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
	conformance "k8s.io/apiserver/pkg/storage/testing"

	"github.com/belay-dev/belay/state"
)

// nowhere is the namespace in which the pods of the tests lie that have none.
const nowhere = "nowhere"

// examplePod is what of an example.Pod is not metadata.
type examplePod struct {
	Namespace, Name string // may differ from where the pod lies
	Spec            example.PodSpec
	Status          example.PodStatus
}

// examples keeps the pods of the upstream tests as ConfigMaps: a kind without rules of its own.
func examples(t *testing.T, store *state.Store) resource {
	return resource{
		kind: state.KindConfigMap, prefix: "/pods/",
		fresh: func() runtime.Object { return &example.Pod{} },
		encode: func(o runtime.Object) (state.Object, error) {
			pod := o.DeepCopyObject().(*example.Pod)
			data, err := json.Marshal(examplePod{pod.Namespace, pod.Name, pod.Spec, pod.Status})
			if pod.Namespace == "" {
				pod.Namespace = nowhere
			}
			_, exists := store.Commit(state.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: pod.Namespace}}))
			if exists != nil && !apierrors.IsAlreadyExists(exists) {
				t.Error(exists)
			}
			return &corev1.ConfigMap{ObjectMeta: pod.ObjectMeta, Data: map[string]string{"pod": string(data)}}, err
		},
		decode: func(from state.Object, into runtime.Object) error {
			c, pod := from.DeepCopyObject().(*corev1.ConfigMap), into.(*example.Pod)
			var p examplePod
			if err := json.Unmarshal([]byte(c.Data["pod"]), &p); err != nil {
				return err
			}
			*pod = example.Pod{ObjectMeta: c.ObjectMeta, Spec: p.Spec, Status: p.Status}
			pod.Namespace, pod.Name = p.Namespace, p.Name
			return nil
		},
	}
}

// conformer is a storage for the upstream tests, with the namespaces that they use.
func conformer(t *testing.T) (context.Context, *objects) {
	t.Helper()
	store, err := state.OpenMemory(state.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := &objects{resource: examples(t, store), store: store, ask: (&backend{store: store}).ask, watches: &sync.WaitGroup{}, bookmark: time.Hour}
	t.Cleanup(func() {
		cancel()
		s.watches.Wait()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return ctx, s
}

// clusterScoped has paths without a namespace.
type clusterScoped struct{ *objects }

func inNowhere(key string) string {
	return "/pods/" + nowhere + "/" + strings.TrimLeft(strings.TrimPrefix(key, "/pods"), "/")
}

func (s clusterScoped) Create(ctx context.Context, key string, o, out runtime.Object, ttl uint64) error {
	return s.objects.Create(ctx, inNowhere(key), o, out, ttl)
}

func (s clusterScoped) Delete(ctx context.Context, key string, out runtime.Object, pre *storage.Preconditions,
	validate storage.ValidateObjectFunc, cached runtime.Object, o storage.DeleteOptions) error {
	return s.objects.Delete(ctx, inNowhere(key), out, pre, validate, cached, o)
}

func (s clusterScoped) Watch(ctx context.Context, key string, o storage.ListOptions) (watch.Interface, error) {
	return s.objects.Watch(ctx, inNowhere(key), o)
}

func (s clusterScoped) GuaranteedUpdate(ctx context.Context, key string, out runtime.Object, orNone bool,
	pre *storage.Preconditions, try storage.UpdateFunc, cached runtime.Object) error {
	return s.objects.GuaranteedUpdate(ctx, inNowhere(key), out, orNone, pre, try, cached)
}

// forget makes earlier versions count as no longer kept, and like etcd takes a version for that.
func forget(s *objects) conformance.Compaction {
	return func(ctx context.Context, t *testing.T, version string) {
		t.Helper()
		v, err := s.ParseResourceVersion(version)
		if err != nil {
			t.Fatal(err)
		}
		s.oldest.Store(int64(v))
		advance(s)(ctx, t)
	}
}

// advance changes something else.
func advance(s *objects) conformance.IncreaseRVFunc {
	return func(_ context.Context, t *testing.T) int64 {
		t.Helper()
		r, err := s.store.Commit(state.Create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "s-"}}))
		if err != nil {
			t.Fatal(err)
		}
		return r.Version
	}
}

func anyKey(context.Context, *testing.T, string) {}
func anyCalls(*testing.T, uint64, uint64)        {}

// TestConformance runs the tests that Kubernetes has for a storage. Missing are those about etcd itself: lives that
// end by a lease (CreateWithTTL, GuaranteedUpdateWithTTL: an Event's life is the collector's business), values that
// are transformed or damaged on their way to the disk (ListResourceVersionMatch, GuaranteedUpdate,
// GuaranteedUpdateChecksStoredData, TransformationFailure, WatchError, WatchWithUnsafeDelete,
// WatchErrorIsBlockingFurtherEvents: what is in memory has no transformed form), keys and sizes as etcd has them
// (KeySchema, Stats).
func TestConformance(t *testing.T) {
	for name, run := range map[string]func(context.Context, *testing.T, *objects){
		"Create":              func(ctx context.Context, t *testing.T, s *objects) { conformance.RunTestCreate(ctx, t, s, anyKey) },
		"CreateWithKeyExist":  func(ctx context.Context, t *testing.T, s *objects) { conformance.RunTestCreateWithKeyExist(ctx, t, s) },
		"Get":                 func(ctx context.Context, t *testing.T, s *objects) { conformance.RunTestGet(ctx, t, s) },
		"UnconditionalDelete": func(ctx context.Context, t *testing.T, s *objects) { conformance.RunTestUnconditionalDelete(ctx, t, s) },
		"ConditionalDelete":   func(ctx context.Context, t *testing.T, s *objects) { conformance.RunTestConditionalDelete(ctx, t, s) },
		"DeleteWithSuggestion": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestDeleteWithSuggestion(ctx, t, s)
		},
		"DeleteWithSuggestionAndConflict": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestDeleteWithSuggestionAndConflict(ctx, t, s)
		},
		"DeleteWithConflict": func(ctx context.Context, t *testing.T, s *objects) { conformance.RunTestDeleteWithConflict(ctx, t, s) },
		"DeleteWithSuggestionOfDeletedObject": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestDeleteWithSuggestionOfDeletedObject(ctx, t, s)
		},
		"ValidateDeletionWithSuggestion": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestValidateDeletionWithSuggestion(ctx, t, s)
		},
		"ValidateDeletionWithOnlySuggestionValid": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestValidateDeletionWithOnlySuggestionValid(ctx, t, s)
		},
		"PreconditionalDeleteWithSuggestion": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestPreconditionalDeleteWithSuggestion(ctx, t, s)
		},
		"PreconditionalDeleteWithOnlySuggestionPass": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestPreconditionalDeleteWithOnlySuggestionPass(ctx, t, s)
		},
		"List": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestList(ctx, t, s, forget(s), false, nil)
		},
		"ConsistentList": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestConsistentList(ctx, t, s, advance(s), false, true, false)
		},
		"GetListNonRecursive": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestGetListNonRecursive(ctx, t, advance(s), s)
		},
		"GetListRecursivePrefix": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestGetListRecursivePrefix(ctx, t, s)
		},
		"ListContinuation": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestListContinuation(ctx, t, s, anyCalls)
		},
		"ListPaginationRareObject": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestListPaginationRareObject(ctx, t, clusterScoped{s}, anyCalls)
		},
		"ListContinuationWithFilter": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestListContinuationWithFilter(ctx, t, s, anyCalls)
		},
		"ListInconsistentContinuation": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestListInconsistentContinuation(ctx, t, s, forget(s))
		},
		"ListPaging":          func(ctx context.Context, t *testing.T, s *objects) { conformance.RunTestListPaging(ctx, t, s) },
		"NamespaceScopedList": func(ctx context.Context, t *testing.T, s *objects) { conformance.RunTestNamespaceScopedList(ctx, t, s) },
		"GuaranteedUpdateWithConflict": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestGuaranteedUpdateWithConflict(ctx, t, s)
		},
		"GuaranteedUpdateWithSuggestionAndConflict": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestGuaranteedUpdateWithSuggestionAndConflict(ctx, t, s)
		},
		"Watch": func(ctx context.Context, t *testing.T, s *objects) { conformance.RunTestWatch(ctx, t, s) },
		"WatchFromZero": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestWatchFromZero(ctx, t, s, forget(s))
		},
		"DeleteTriggerWatch": func(ctx context.Context, t *testing.T, s *objects) { conformance.RunTestDeleteTriggerWatch(ctx, t, s) },
		"WatchFromNonZero":   func(ctx context.Context, t *testing.T, s *objects) { conformance.RunTestWatchFromNonZero(ctx, t, s) },
		"DelayedWatchDelivery": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestDelayedWatchDelivery(ctx, t, s)
		},
		"WatchContextCancel": func(ctx context.Context, t *testing.T, s *objects) { conformance.RunTestWatchContextCancel(ctx, t, s) },
		"WatcherTimeout":     func(ctx context.Context, t *testing.T, s *objects) { conformance.RunTestWatcherTimeout(ctx, t, s) },
		"WatchDeleteEventObjectHaveLatestRV": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestWatchDeleteEventObjectHaveLatestRV(ctx, t, s)
		},
		"WatchInitializationSignal": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestWatchInitializationSignal(ctx, t, s)
		},
		"ProgressNotify": func(ctx context.Context, t *testing.T, s *objects) {
			s.bookmark = 50 * time.Millisecond
			conformance.RunOptionalTestProgressNotify(ctx, t, s, advance(s))
		},
		"ClusterScopedWatch": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestClusterScopedWatch(ctx, t, clusterScoped{s})
		},
		"NamespaceScopedWatch": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestNamespaceScopedWatch(ctx, t, s)
		},
		"WatchDispatchBookmarkEvents": func(ctx context.Context, t *testing.T, s *objects) {
			s.bookmark = 50 * time.Millisecond
			conformance.RunTestWatchDispatchBookmarkEvents(ctx, t, s, true)
		},
		"OptionalWatchBookmarksWithCorrectResourceVersion": func(ctx context.Context, t *testing.T, s *objects) {
			s.bookmark = 50 * time.Millisecond
			conformance.RunTestOptionalWatchBookmarksWithCorrectResourceVersion(ctx, t, s)
		},
		"SendInitialEventsBackwardCompatibility": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunSendInitialEventsBackwardCompatibility(ctx, t, s)
		},
		"WatchSemantics": func(ctx context.Context, t *testing.T, s *objects) { conformance.RunWatchSemantics(ctx, t, s) },
		"WatchSemanticInitialEventsExtended": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunWatchSemanticInitialEventsExtended(ctx, t, s)
		},
		"CompactRevision": func(ctx context.Context, t *testing.T, s *objects) {
			conformance.RunTestCompactRevision(ctx, t, s, advance(s), forget(s))
		},
		"WatchListMatchSingle": func(ctx context.Context, t *testing.T, s *objects) { conformance.RunWatchListMatchSingle(ctx, t, s) },
	} {
		t.Run(name, func(t *testing.T) { // one after the other: some set feature gates, which are the process's
			ctx, s := conformer(t)
			run(ctx, t, s)
		})
	}
}
