package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing/synctest"
	"time"
	"unsafe"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	upstream "k8s.io/kubernetes/pkg/controller"
	"k8s.io/kubernetes/pkg/controller/deployment"
	"k8s.io/kubernetes/pkg/controller/replicaset"
	"k8s.io/kubernetes/pkg/controller/util/consistency"

	"github.com/belay-dev/belay/reconciler/rollout/scenario"
	"github.com/belay-dev/belay/state"
)

// kubernetesEngine runs Kubernetes' own Deployment and ReplicaSet controllers over a store, in lock-step. Their
// client is client-go's fake with the store behind it, so that both sides of a comparison have one API server; their
// caches are real informers that are told of each change before the next sync. It must run in a synctest bubble.
type kubernetesEngine struct {
	store   *state.Store
	now     func() time.Time
	told    *teller
	watch   *state.Watch
	version int64
	watches map[string][]*watch.FakeWatcher // by resource
	syncs   map[state.Kind]func(context.Context, string) error
	stop    func()
}

var _ scenario.Engine = (*kubernetesEngine)(nil)

const burst = 500

func newKubernetesEngine(store *state.Store, now func() time.Time) (*kubernetesEngine, error) {
	e := &kubernetesEngine{store: store, now: now, told: &teller{}}
	return e, e.start()
}

func (e *kubernetesEngine) start() error {
	ctx, cancel := context.WithCancel(klog.NewContext(context.Background(), klog.New(nil)))
	e.version = e.store.Version()
	var err error
	if e.watch, err = e.store.Watch(e.version); err != nil {
		cancel()
		return err
	}
	e.watches = map[string][]*watch.FakeWatcher{}
	client := fake.NewClientset()
	client.PrependReactor("*", "*", e.react)
	client.PrependWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		w := watch.NewFakeWithChanSize(100_000, false)
		resource := action.GetResource().Resource
		e.watches[resource] = append(e.watches[resource], w)
		return true, w, nil
	})
	factory := informers.NewSharedInformerFactory(client, 0)
	apps, pods := factory.Apps().V1(), factory.Core().V1().Pods()
	d, err := deployment.NewDeploymentController(ctx, apps.Deployments(), apps.ReplicaSets(), pods, client)
	if err != nil {
		cancel()
		return err
	}
	*field[record.EventRecorder](d, "eventRecorder") = e.told
	rs := replicaset.NewBaseController(klog.FromContext(ctx), apps.ReplicaSets(), pods, client, burst,
		appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), "replicaset_controller", "replicaset",
		upstream.RealPodControl{KubeClient: client, Recorder: e.told}, record.NewBroadcaster(record.WithContext(ctx)),
		replicaset.DefaultReplicaSetControllerFeatures(), consistency.NewNoopConsistencyStore())
	e.syncs = map[state.Kind]func(context.Context, string) error{
		state.KindDeployment: *field[func(context.Context, string) error](d, "syncHandler"),
		state.KindReplicaSet: *field[func(context.Context, string) error](rs, "syncHandler"),
	}
	factory.Start(ctx.Done())
	synctest.Wait()
	e.stop = func() {
		cancel()
		// Run on a context that has ended only shuts the queues and broadcasters down.
		d.Run(ctx, 0)
		rs.Run(ctx, 0)
		factory.Shutdown()
	}
	return nil
}

// field gives access to an unexported field: the controllers have no other door for one sync at a time.
func field[T any](of any, name string) *T {
	v := reflect.ValueOf(of).Elem().FieldByName(name)
	return (*T)(unsafe.Pointer(v.UnsafeAddr()))
}

func (e *kubernetesEngine) Restart() error {
	e.stop()
	return e.start()
}

// WakeAt lets the world look every second: when these controllers want to be woken is hidden in their queues.
func (e *kubernetesEngine) WakeAt() time.Time { return e.now().Add(time.Second) }

func (e *kubernetesEngine) Events() []scenario.Told {
	told := e.told.list
	e.told.list = nil
	return told
}

const maxSyncs = 500

// Settle syncs every object of a kind until nothing is written any more. A conflict is retried at once, as the
// controllers' queues do within milliseconds.
func (e *kubernetesEngine) Settle(ctx context.Context, kind state.Kind) error {
	if err := e.deliver(); err != nil {
		return err
	}
	for range maxSyncs {
		version := e.store.Version()
		for _, o := range e.store.List(kind, "") {
			err := e.syncs[kind](ctx, o.GetNamespace()+"/"+o.GetName())
			if err != nil && !apierrors.IsConflict(err) && !apierrors.IsForbidden(err) && !apierrors.IsAlreadyExists(err) {
				return err
			}
			if err := e.deliver(); err != nil {
				return err
			}
		}
		if e.store.Version() == version {
			return nil
		}
	}
	return fmt.Errorf("Kubernetes' %s controller does not come to rest", kind)
}

var resources = map[state.Kind]string{
	state.KindDeployment: "deployments", state.KindReplicaSet: "replicasets", state.KindPod: "pods",
}

// deliver tells the informers what changed, and waits until they know.
func (e *kubernetesEngine) deliver() error {
	for e.version < e.store.Version() {
		events, err := e.watch.Next(context.Background())
		if err != nil {
			return err
		}
		for _, event := range events {
			e.version = event.Version
			for _, w := range e.watches[resources[event.Key().Kind]] {
				w.Action(watch.EventType(event.Type), event.Object.DeepCopyObject())
			}
		}
	}
	synctest.Wait()
	return nil
}

// react is the API server: the store.
func (e *kubernetesEngine) react(action clienttesting.Action) (bool, runtime.Object, error) {
	kind := state.Kind("")
	for k, resource := range resources {
		if resource == action.GetResource().Resource {
			kind = k
		}
	}
	if kind == "" {
		return true, nil, fmt.Errorf("no resource %s", action.GetResource())
	}
	key := state.Key{Kind: kind, Namespace: action.GetNamespace()}
	switch a := action.(type) {
	case clienttesting.ListActionImpl:
		return true, list(e.store, kind), nil
	case clienttesting.GetActionImpl:
		key.Name = a.Name
		return e.get(key)
	case clienttesting.CreateActionImpl:
		o := a.Object.DeepCopyObject().(state.Object)
		o.SetNamespace(key.Namespace)
		return e.commit(state.Create(o))
	case clienttesting.UpdateActionImpl:
		o := a.Object.DeepCopyObject().(state.Object)
		if a.Subresource == "status" {
			return e.commit(state.UpdateStatus(o))
		}
		return e.commit(state.Update(o))
	case clienttesting.DeleteActionImpl:
		key.Name = a.Name
		return e.commit(state.Delete(key, state.DeleteOptions{GracePeriodSeconds: a.DeleteOptions.GracePeriodSeconds}))
	case clienttesting.PatchActionImpl:
		key.Name = a.Name
		return e.patch(key, a.Patch)
	}
	return true, nil, fmt.Errorf("no action %T", action)
}

func (e *kubernetesEngine) get(key state.Key) (bool, runtime.Object, error) {
	o, ok := e.store.Get(key)
	if !ok {
		return true, nil, apierrors.NewNotFound(appsv1.Resource(resources[key.Kind]), key.Name)
	}
	return true, o.DeepCopyObject(), nil
}

func (e *kubernetesEngine) commit(w state.Write) (bool, runtime.Object, error) {
	receipt, err := e.store.Commit(w)
	if err != nil || receipt.Objects[0] == nil {
		return true, nil, err
	}
	return true, receipt.Objects[0].DeepCopyObject(), nil
}

// patch applies the only kind of patch the controllers send.
func (e *kubernetesEngine) patch(key state.Key, patch []byte) (bool, runtime.Object, error) {
	stored, ok := e.store.Get(key)
	if !ok {
		return e.get(key)
	}
	before, err := json.Marshal(stored)
	if err != nil {
		return true, nil, err
	}
	empty := reflect.New(reflect.TypeOf(stored).Elem()).Interface().(state.Object)
	after, err := strategicpatch.StrategicMergePatch(before, patch, empty)
	if err == nil {
		err = json.Unmarshal(after, empty)
	}
	if err != nil {
		return true, nil, err
	}
	if empty.GetUID() != stored.GetUID() {
		return true, nil, apierrors.NewConflict(appsv1.Resource(resources[key.Kind]), key.Name, errors.New("another uid"))
	}
	return e.commit(state.Update(empty))
}

func list(store *state.Store, kind state.Kind) runtime.Object {
	objects, version := store.ListAt(kind, "")
	meta := metav1.ListMeta{ResourceVersion: fmt.Sprint(version)}
	switch kind {
	case state.KindDeployment:
		return &appsv1.DeploymentList{ListMeta: meta, Items: items[appsv1.Deployment](objects)}
	case state.KindReplicaSet:
		return &appsv1.ReplicaSetList{ListMeta: meta, Items: items[appsv1.ReplicaSet](objects)}
	default:
		return &corev1.PodList{ListMeta: meta, Items: items[corev1.Pod](objects)}
	}
}

func items[T any](objects []state.Object) []T {
	var list []T
	for _, o := range objects {
		list = append(list, *any(o.DeepCopyObject()).(*T))
	}
	return list
}

// teller keeps Events as the controllers record them, before any aggregation.
type teller struct {
	mu   sync.Mutex // pods are created side by side
	list []scenario.Told
}

var _ record.EventRecorder = (*teller)(nil)

func (t *teller) Event(object runtime.Object, eventType, reason, message string) {
	o := object.(state.Object)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = append(t.list, scenario.Told{Kind: string(state.KeyOf(o).Kind), Name: o.GetName(), Type: eventType,
		Reason: reason, Message: message})
}

func (t *teller) Eventf(object runtime.Object, eventType, reason, format string, args ...any) {
	t.Event(object, eventType, reason, fmt.Sprintf(format, args...))
}

func (t *teller) AnnotatedEventf(object runtime.Object, _ map[string]string, eventType, reason, format string, args ...any) {
	t.Eventf(object, eventType, reason, format, args...)
}

func (t *teller) WithLogger(klog.Logger) record.EventRecorderLogger { return t }
