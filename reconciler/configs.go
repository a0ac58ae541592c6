package reconciler

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"hash"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/state"
)

// maxConfigs bounds the contents that are kept for one row, in bytes: what lies beyond is known by its digest alone.
// One object has 1 MiB at most, as Kubernetes has it.
const maxConfigs = 4 << 20

// Configs is what a template names, as it was at one moment: a reference to each object, and the contents to keep.
type Configs struct {
	Refs     []state.ConfigRef
	Contents []state.Config
}

// configsOf takes down what a pod of a namespace uses. find gives the object of a key, nil when there is none, and
// whether Git declares it. Of a Secret that Git does not declare nothing is kept but its name: what it holds, and what
// could be guessed from a digest of it, is to go when it is deleted. Pure.
func configsOf(namespace string, pod *corev1.PodSpec, find func(engine.Key) (o state.Object, git bool)) Configs {
	var out Configs
	left := maxConfigs
	for _, k := range engine.ConfigKeys(namespace, pod) {
		ref := state.ConfigRef{Kind: k.Kind, Name: k.Name}
		if o, git := find(k); o != nil && (git || k.Kind == state.KindConfigMap) {
			c, size := ConfigOf(o)
			ref.Hash = c.Hash
			if left -= size; left >= 0 {
				out.Contents = append(out.Contents, c)
			}
		}
		out.Refs = append(out.Refs, ref)
	}
	return out
}

// ConfigOf is the content of a ConfigMap or Secret under its digest, and how many bytes it has. Labels, annotations and
// whether it is immutable are no part of it: no pod sees them. The zero value is what any other object gives.
func ConfigOf(o state.Object) (c state.Config, size int) {
	switch o := o.(type) {
	case *corev1.ConfigMap:
		c = state.Config{Kind: state.KindConfigMap, Text: o.Data, Data: o.BinaryData}
	case *corev1.Secret:
		c = state.Config{Kind: state.KindSecret, Type: o.Type, Data: o.Data}
	default:
		return state.Config{}, 0
	}
	d := digest{h: sha256.New()}
	d.add(string(c.Kind))
	d.add(string(c.Type))
	d.number(len(c.Text))
	for _, k := range slices.Sorted(maps.Keys(c.Text)) {
		d.add(k)
		d.add(c.Text[k])
	}
	for _, k := range slices.Sorted(maps.Keys(c.Data)) {
		d.add(k)
		d.add(string(c.Data[k]))
	}
	c.Hash = encoding.EncodeToString(d.h.Sum(nil)[:20])
	return c, d.size
}

// encoding is that of what follows from a content: short, and to be read aloud.
var encoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// digest hashes strings so that no two lists of them are alike.
type digest struct {
	h    hash.Hash
	size int
}

func (d *digest) number(n int) {
	_, _ = d.h.Write(binary.BigEndian.AppendUint64(nil, uint64(n))) // a hash takes all
}

func (d *digest) add(s string) {
	d.number(len(s))
	_, _ = d.h.Write([]byte(s))
	d.size += len(s)
}

// ConfigObject is the object that a reference of a row named, made anew from what the ledger keeps: without labels and
// annotations, which Git puts back where it still has it.
func ConfigObject(namespace string, ref state.ConfigRef, c state.Config) state.Object {
	o := &corev1.Secret{Type: c.Type, Data: c.Data}
	o.Namespace, o.Name = namespace, ref.Name
	if c.Kind == state.KindConfigMap {
		return &corev1.ConfigMap{ObjectMeta: o.ObjectMeta, Data: c.Text, BinaryData: c.Data}
	}
	return o
}

// wantedConfig finds a ConfigMap or Secret as Git has it now, or as it is where Git has none.
func (l *Loop) wantedConfig(k engine.Key) (state.Object, bool) {
	if d := l.desired(k); d != nil {
		return d.Object(), true
	}
	return l.liveConfig(k)
}

// liveConfig finds a ConfigMap or Secret as pods that begin now see it.
func (l *Loop) liveConfig(k engine.Key) (state.Object, bool) {
	_, git := l.o.Store.Managed(k)
	d := l.desired(k)
	if o := l.o.Engine.Live(k).Object; o != nil {
		return o, git || d != nil
	}
	if d != nil { // not applied: it does not validate over what runs, or a conflict is being resolved
		return d.Object(), true
	}
	return nil, git
}

// holdsNaming lists the holds whose pods use a ConfigMap or Secret.
func (l *Loop) holdsNaming(k engine.Key) []state.Hold {
	return slices.DeleteFunc(l.o.Store.Holds(), func(h state.Hold) bool {
		t := l.template(h.Template)
		return h.Namespace != k.Namespace || t == nil || !Names(&t.Spec, k.Kind, k.Name)
	})
}

// setsNaming lists the kept ReplicaSets whose pods use a ConfigMap or Secret.
func (l *Loop) setsNaming(k engine.Key) []*appsv1.ReplicaSet {
	return slices.DeleteFunc(state.List[*appsv1.ReplicaSet](l.o.Store, k.Namespace), func(rs *appsv1.ReplicaSet) bool {
		return !Names(&rs.Spec.Template.Spec, k.Kind, k.Name)
	})
}

// isConfig reports whether a key is of what pods take their configuration from.
func isConfig(k engine.Key) bool { return k.Kind == state.KindConfigMap || k.Kind == state.KindSecret }

// named reports whether the pods of a kept ReplicaSet, or of what is held, use a ConfigMap or Secret.
func (l *Loop) named(k engine.Key) bool {
	return isConfig(k) && (len(l.setsNaming(k)) > 0 || len(l.holdsNaming(k)) > 0)
}

// kept is a ConfigMap or Secret as it was when a template that names it was handed over: one that is held, or else the
// newest of those that are kept. It is nil when there is none.
func (l *Loop) kept(k engine.Key) (o state.Object, forHold bool) {
	if !isConfig(k) {
		return nil, false
	}
	for _, h := range l.holdsNaming(k) {
		for _, id := range []string{h.ID, h.Row} {
			if r, ok := l.o.Store.Row(id); ok && o == nil {
				o = l.configOf(r, k)
			}
		}
	}
	if o != nil {
		return o, true
	}
	var newest state.Row
	for _, rs := range l.setsNaming(k) {
		owner := metav1.GetControllerOf(rs)
		if owner == nil {
			continue
		}
		for _, r := range l.o.Store.Rows(k.Namespace, owner.Name) {
			if r.ReplicaSet != rs.Name || r.UID != owner.UID || r.StartedAt.Before(newest.StartedAt) {
				continue
			}
			if c := l.configOf(r, k); c != nil {
				o, newest = c, r
			}
		}
	}
	return o, false
}

// configOf is what a row's template saw under a key; nil when the ledger does not have it.
func (l *Loop) configOf(r state.Row, k engine.Key) state.Object {
	for _, ref := range r.Configs {
		if ref.Kind != k.Kind || ref.Name != k.Name {
			continue
		}
		if c, ok := l.o.Store.Config(ref.Hash); ok {
			return ConfigObject(k.Namespace, ref, c)
		}
	}
	return nil
}

// nameConfigs adds what the templates of Deployments name, at the step that the sources' desired objects stand at.
func (l *Loop) nameConfigs(deltas []Delta) {
	for i := range deltas {
		if d := deltas[i].After; d != nil {
			if dep, ok := d.Object().(*appsv1.Deployment); ok {
				deltas[i].Configs = configsOf(dep.Namespace, &dep.Spec.Template.Spec, l.wantedConfig)
			}
		}
	}
}

// handedOver is a row whose template is handed to the rollout now, with what its pods will see, and the ledger writes
// that keep both.
func (l *Loop) handedOver(r state.Row, d *appsv1.Deployment) (state.Row, []state.Write) {
	named := configsOf(d.Namespace, &d.Spec.Template.Spec, l.liveConfig)
	r.Configs = named.Refs
	return r, append(configWrites(named.Contents), state.PutTemplate(state.Template{Hash: r.Template, Template: d.Spec.Template}))
}

// configWrites are the ledger writes that keep contents.
func configWrites(contents []state.Config) []state.Write {
	var ws []state.Write
	for _, c := range contents {
		ws = append(ws, state.PutConfig(c))
	}
	return ws
}
