package rollout

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/dump"
)

// hashLabel tells the pods of one ReplicaSet from those of another.
const hashLabel = appsv1.DefaultDeploymentUniqueLabelKey

// Hash returns the pod-template-hash of a defaulted template, as Kubernetes computes it: 1 to 10 characters of
// `456789bcdf`. The hash label itself is left out. A collisionCount of nil and one of 0 give different hashes.
//
// The value names a ReplicaSet, it does not identify a template: use Equal for that.
func Hash(template *corev1.PodTemplateSpec, collisionCount *int32) string {
	hasher := fnv.New32a()
	fmt.Fprint(hasher, dump.ForHash(*withoutHash(template)))
	if collisionCount != nil {
		var b [8]byte
		binary.LittleEndian.PutUint32(b[:], uint32(*collisionCount))
		hasher.Write(b[:])
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(hasher.Sum32()), 10))
}

// Equal reports whether two templates ask for the same pods: deep equality in which the hash label does not count,
// nil and empty are the same, quantities compare by value and times by instant. Both must be defaulted.
func Equal(a, b *corev1.PodTemplateSpec) bool {
	if a == b {
		return true
	}
	// Most templates that differ differ in an image: look there before the long way round.
	if len(a.Spec.Containers) != len(b.Spec.Containers) {
		return false
	}
	for i := range a.Spec.Containers {
		if a.Spec.Containers[i].Image != b.Spec.Containers[i].Image {
			return false
		}
	}
	a, b = withoutHash(a), withoutHash(b)
	return sameBytes(a, b) || apiequality.Semantic.DeepEqual(a, b)
}

// sameBytes reports whether two templates are written with the same bytes: they are equal then, and what is asked most
// often is found out for a tenth of what the long way costs. Different ones may be equal.
func sameBytes(a, b *corev1.PodTemplateSpec) bool {
	n := a.Size()
	if n != b.Size() {
		return false
	}
	buf := make([]byte, 2*n)
	_, errA := a.MarshalToSizedBuffer(buf[:n])
	_, errB := b.MarshalToSizedBuffer(buf[n:])
	return errA == nil && errB == nil && bytes.Equal(buf[:n], buf[n:])
}

// Digest returns the SHA-256, in hex, of the template's canonical JSON without the hash label. Templates that are
// Equal have one digest, and it does not depend on the release of Kubernetes' types as the hash does, as long as
// the JSON is the same.
func Digest(template *corev1.PodTemplateSpec) string {
	canonical := *withoutHash(template)
	canonical.Spec = *canonical.Spec.DeepCopy()
	canonicalQuantities(&canonical.Spec)
	text, err := json.Marshal(&canonical)
	if err != nil {
		// Only a quantity or a time that no decoder accepts can get here; such a template is equal to itself only.
		text = []byte(dump.ForHash(canonical))
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// withoutHash returns template, or a shallow copy of it that lacks the hash label.
func withoutHash(template *corev1.PodTemplateSpec) *corev1.PodTemplateSpec {
	if _, ok := template.Labels[hashLabel]; !ok {
		return template
	}
	bare := *template
	bare.Labels = maps.Clone(template.Labels)
	delete(bare.Labels, hashLabel)
	return &bare
}

// canonicalQuantities rewrites every quantity of the spec in one form: 1000m and 1 are one value, 1Ki and 1024 too.
func canonicalQuantities(spec *corev1.PodSpec) {
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			canonicalList(list[i].Resources.Requests)
			canonicalList(list[i].Resources.Limits)
			for _, env := range list[i].Env {
				if env.ValueFrom != nil && env.ValueFrom.ResourceFieldRef != nil {
					ref := env.ValueFrom.ResourceFieldRef
					ref.Divisor = canonicalQuantity(ref.Divisor)
				}
			}
		}
	}
	if spec.Resources != nil {
		canonicalList(spec.Resources.Requests)
		canonicalList(spec.Resources.Limits)
	}
	canonicalList(spec.Overhead)
	for i := range spec.Volumes {
		if dir := spec.Volumes[i].EmptyDir; dir != nil && dir.SizeLimit != nil {
			limit := canonicalQuantity(*dir.SizeLimit)
			dir.SizeLimit = &limit
		}
	}
}

func canonicalList(list corev1.ResourceList) {
	for name, q := range list {
		list[name] = canonicalQuantity(q)
	}
}

func canonicalQuantity(q resource.Quantity) resource.Quantity {
	c, err := resource.ParseQuantity(q.AsDec().String())
	if err != nil {
		return q
	}
	return c
}

// replicaSetName is `<deployment>-<hash>`, the Deployment's part cut so that the whole is a valid name.
func replicaSetName(deployment, hash string) string {
	room := validation.DNS1123SubdomainMaxLength - len(hash) - 1
	if room > 0 && len(deployment) > room {
		deployment = deployment[:room]
	}
	return deployment + "-" + hash
}
