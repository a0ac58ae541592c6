package garbage

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/state"
)

// kinds may have owners or be owners. Events have neither: they end by their age.
var kinds = []state.Kind{
	state.KindConfigMap, state.KindDeployment, state.KindEndpoints, state.KindEndpointSlice, state.KindHorizontalPodAutoscaler,
	state.KindPod, state.KindReplicaSet, state.KindResourceQuota, state.KindSecret, state.KindService,
}

// groups are those of the kinds that are not in the core group.
var groups = map[state.Kind]string{
	state.KindDeployment: appsv1.GroupName, state.KindReplicaSet: appsv1.GroupName, state.KindEndpointSlice: discoveryv1.GroupName,
	state.KindHorizontalPodAutoscaler: autoscalingv2.GroupName,
}

// expiry is the key under which all Events are looked at.
var expiry = state.Key{Kind: state.KindEvent}

// maxDeletes bounds how many Events go in one transaction.
const maxDeletes = 500

// Field names of log lines.
const (
	logKey    = "key"
	logAction = "action"
	logReason = "reason"
)

// New is the garbage collector over store.
func New(store *state.Store, log zerolog.Logger, now func() time.Time) controller.Config {
	c := &collector{store: store, log: log}
	return controller.Config{
		Name: "garbage", Kinds: kinds, Keys: c.keys, Resync: resync, Reconcile: c.reconcile, Now: now, Log: log,
	}
}

type collector struct {
	store *state.Store
	log   zerolog.Logger
}

func resync(store *state.Store) []state.Key {
	keys := []state.Key{expiry}
	for _, kind := range kinds {
		for _, o := range store.List(kind, "") {
			if len(o.GetOwnerReferences()) > 0 || o.GetDeletionTimestamp() != nil {
				keys = append(keys, state.KeyOf(o))
			}
		}
	}
	return keys
}

// keys leaves out changes that no plan depends on, such as those of a status: they are most of all.
func (c *collector) keys(e state.Event) []state.Key {
	switch e.Type {
	case state.Added:
		if len(e.Object.GetOwnerReferences()) > 0 {
			return []state.Key{state.KeyOf(e.Object)}
		}
		return nil
	case state.Deleted:
		return append(c.dependents(e.Object), c.waitingOwners(e.Object)...)
	case state.Modified:
		return c.modified(e)
	}
	return nil
}

func (c *collector) modified(e state.Event) []state.Key {
	var keys []state.Key
	owned := !equality.Semantic.DeepEqual(e.Object.GetOwnerReferences(), e.Old.GetOwnerReferences())
	ending := (e.Object.GetDeletionTimestamp() == nil) != (e.Old.GetDeletionTimestamp() == nil) ||
		!slices.Equal(e.Object.GetFinalizers(), e.Old.GetFinalizers())
	if owned || ending {
		keys = append(keys, state.KeyOf(e.Object))
	}
	if owned {
		keys = append(keys, c.waitingOwners(e.Old)...)
	}
	if ending && waits(e.Object) {
		keys = append(keys, c.dependents(e.Object)...)
	}
	return keys
}

func (c *collector) dependents(o state.Object) []state.Key {
	var keys []state.Key
	for _, dependent := range c.store.Owned(o.GetUID()) {
		keys = append(keys, state.KeyOf(dependent))
	}
	return keys
}

// waitingOwners are the owners that wait for dependents, perhaps for this one.
func (c *collector) waitingOwners(o state.Object) []state.Key {
	var keys []state.Key
	for _, ref := range o.GetOwnerReferences() {
		if owner, standing := c.owner(o.GetNamespace(), ref); standing == Waiting {
			keys = append(keys, owner)
		}
	}
	return keys
}

// owner finds what an owner reference of an object in the namespace points to.
func (c *collector) owner(namespace string, ref metav1.OwnerReference) (state.Key, Standing) {
	key := state.Key{Kind: state.Kind(ref.Kind), Namespace: namespace, Name: ref.Name}
	if gv, err := schema.ParseGroupVersion(ref.APIVersion); err != nil || gv.Group != groups[key.Kind] || !slices.Contains(kinds, key.Kind) {
		return key, Unknown
	}
	owner, ok := c.store.Get(key)
	switch {
	case !ok || owner.GetUID() != ref.UID:
		return key, Gone
	case waits(owner):
		return key, Waiting
	default:
		return key, Alive
	}
}

func (c *collector) reconcile(ctx context.Context, key state.Key, now time.Time) (time.Time, error) {
	if key == expiry {
		return c.expire(ctx, now)
	}
	o, ok := c.store.Get(key)
	if !ok {
		return time.Time{}, nil
	}
	in := Input{Object: o, Dependents: c.store.Owned(o.GetUID())}
	for _, ref := range o.GetOwnerReferences() {
		_, standing := c.owner(key.Namespace, ref)
		in.Owners = append(in.Owners, standing)
	}
	return again(time.Time{}, now, c.execute(Plan(in)))
}

// again turns the error that something which was read is gone by now into a wish to look once more.
func again(wakeAt, now time.Time, err error) (time.Time, error) {
	if apierrors.IsNotFound(err) {
		return now, nil
	}
	return wakeAt, err
}

// execute carries out a plan in one transaction, whose every write is refused when its object changed since.
func (c *collector) execute(result Result) error {
	if len(result.Actions) == 0 {
		return nil
	}
	writes := make([]state.Write, 0, len(result.Actions))
	changed := map[types.UID]bool{}
	for _, action := range result.Actions {
		o := action.Object
		if action.Verb == Delete {
			options := state.DeleteOptions{UID: o.GetUID(), ResourceVersion: o.GetResourceVersion()}
			if changed[o.GetUID()] { // by a write of this transaction, which has checked the version
				options.ResourceVersion = ""
			}
			writes = append(writes, state.Delete(state.KeyOf(o), options))
			continue
		}
		changed[o.GetUID()] = true
		writes = append(writes, state.Update(edit(action)))
	}
	if _, err := c.store.Commit(writes...); err != nil {
		return fmt.Errorf("collect: %w", err)
	}
	for _, action := range result.Actions {
		c.log.Debug().Stringer(logKey, state.KeyOf(action.Object)).Str(logAction, string(action.Verb)).
			Str(logReason, string(result.Reason)).Msg("collected")
	}
	return nil
}

// edit is the object as the action leaves it.
func edit(action Action) state.Object {
	o := action.Object.DeepCopyObject().(state.Object)
	switch action.Verb {
	case AddFinalizer:
		o.SetFinalizers(append(o.GetFinalizers(), action.Finalizer))
	case DropFinalizer:
		o.SetFinalizers(slices.DeleteFunc(o.GetFinalizers(), func(f string) bool { return f == action.Finalizer }))
	case DropOwners:
		o.SetOwnerReferences(slices.DeleteFunc(o.GetOwnerReferences(), func(ref metav1.OwnerReference) bool {
			return slices.Contains(action.Owners, ref.UID)
		}))
	case Delete:
	}
	return o
}

func (c *collector) expire(ctx context.Context, now time.Time) (time.Time, error) {
	over, wakeAt := Expire(state.List[*corev1.Event](c.store, ""), now)
	for batch := range slices.Chunk(over, maxDeletes) {
		if ctx.Err() != nil {
			return wakeAt, ctx.Err()
		}
		writes := make([]state.Write, 0, len(batch))
		for _, e := range batch {
			writes = append(writes, state.Delete(state.KeyOf(e), state.DeleteOptions{UID: e.UID, ResourceVersion: e.ResourceVersion}))
		}
		if _, err := c.store.Commit(writes...); err != nil {
			return again(wakeAt, now, fmt.Errorf("expire events: %w", err))
		}
	}
	return wakeAt, nil
}
