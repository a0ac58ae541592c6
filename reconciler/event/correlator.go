package event

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/lru"
)

// The limits of client-go's recorder.
const (
	cacheSize    = 4096             // entries of each cache; the least recently used go first
	maxDistinct  = 10               // this many different messages, and they are combined
	similarGap   = 10 * time.Minute // a longer pause between similar Events starts the counting of messages anew
	burst        = 25               // Events a source may write about one object at once
	refill       = 5 * time.Minute  // and one more each time this has passed
	combinedText = "(combined from similar events): "
)

// reason says what the correlator made of an Event.
type reason string

const (
	reasonNew       reason = "New"       // first of its kind
	reasonRepeated  reason = "Repeated"  // counted on an Event that was written before
	reasonThrottled reason = "Throttled" // counted, not written: the source wrote too much about this object
)

// spamKey groups what shares one budget, similarKey what is combined, sameKey what is counted.
type spamKey struct {
	component, host string
	apiVersion      string
	kind            string
	namespace, name string
	uid             types.UID
	eventType       string
}

type similarKey struct {
	spamKey
	reason string
}

type sameKey struct {
	similarKey
	fieldPath string
	message   string
	combined  bool // the one Event that the others of similarKey are folded into; fieldPath and message are empty
}

type written struct {
	name  string
	first metav1.Time
	count int32
}

type similar struct {
	messages  map[string]bool
	last      time.Time
	combining bool
}

type budget struct {
	tokens float64
	at     time.Time
}

// correlator decides which Event is written, under which name and with which count. It holds what it has seen in
// bounded caches; its answers depend on nothing but the Events and times it was given.
type correlator struct {
	same, similar, spam *lru.Cache
}

func newCorrelator() *correlator {
	return &correlator{same: lru.New(cacheSize), similar: lru.New(cacheSize), spam: lru.New(cacheSize)}
}

// correlate takes a fresh Event (count 1, both times now) and returns what to write in its stead, as a new value:
// with reasonRepeated an Event of that name was written before. Three rules, in this order: the tenth distinct
// message without a gap, and those after it, become one combined Event; an Event equal to an earlier one is counted
// on that; what is left is throttled per source and object.
func (c *correlator) correlate(e *corev1.Event, now time.Time) (*corev1.Event, reason) {
	fresh := *e // no more than its own fields change
	out := &fresh
	key := keyOf(e)
	if c.combine(key.similarKey, e.Message, now) {
		out.Message = combinedText + e.Message
		out.InvolvedObject.FieldPath = ""
		key = sameKey{similarKey: key.similarKey, combined: true}
	}
	why := reasonNew
	if value, ok := c.same.Get(key); ok {
		before := value.(written)
		out.Name, out.FirstTimestamp, out.Count = before.name, before.first, before.count+1
		why = reasonRepeated
	}
	c.same.Add(key, written{name: out.Name, first: out.FirstTimestamp, count: out.Count})
	if !c.spend(key.spamKey, 1, now) {
		return out, reasonThrottled
	}
	return out, why
}

// combine notes a message among its similar ones and says whether it is to be folded into the combined Event.
// The first nine messages stay Events of their own, also when they come again.
func (c *correlator) combine(key similarKey, message string, now time.Time) bool {
	record := c.recent(key, now)
	full := record.combining || len(record.messages) >= maxDistinct-1
	fold := full && !record.messages[message]
	if !full {
		record.messages[message] = true
	}
	c.similar.Add(key, record)
	return fold
}

// spend takes n Events from the budget of key, or what is left of it, and says whether anything was left.
func (c *correlator) spend(key spamKey, n int, now time.Time) bool {
	b := budget{tokens: burst, at: now}
	if value, ok := c.spam.Get(key); ok {
		b = value.(budget)
	}
	if now.After(b.at) {
		b.tokens = min(burst, b.tokens+float64(now.Sub(b.at))/float64(refill))
	}
	b.at = now // earlier than before where the clock was set back: it refills from there
	ok := b.tokens >= 1
	if ok {
		b.tokens = max(0, b.tokens-float64(n))
	}
	c.spam.Add(key, b)
	return ok
}

// wrote notes the name under which e was written in the end.
func (c *correlator) wrote(e *corev1.Event) {
	c.same.Add(keyOf(e), written{name: e.Name, first: e.FirstTimestamp, count: e.Count})
}

// forget makes the next Event equal to e a new one. It is for an Event that could not be written.
func (c *correlator) forget(e *corev1.Event) {
	c.same.Remove(keyOf(e))
}

// restore puts back what Events written before a restart tell: which ones to count on, which messages are known,
// and how much of each budget is spent. The budget is an estimate that errs towards fewer Events.
func (c *correlator) restore(events []*corev1.Event) {
	events = slices.Clone(events)
	slices.SortFunc(events, func(a, b *corev1.Event) int {
		return cmp.Or(a.LastTimestamp.Compare(b.LastTimestamp.Time), strings.Compare(a.Namespace, b.Namespace),
			strings.Compare(a.Name, b.Name))
	})
	for _, e := range events {
		key := keyOf(e)
		c.same.Add(key, written{name: e.Name, first: e.FirstTimestamp, count: max(1, e.Count)})
		c.resume(key, e.LastTimestamp.Time)
		c.spend(key.spamKey, int(min(max(1, e.Count), burst)), e.LastTimestamp.Time)
	}
}

// resume notes that an Event of its own, or the combined one, was written at that time.
func (c *correlator) resume(key sameKey, at time.Time) {
	record := c.recent(key.similarKey, at)
	if key.combined {
		record.combining = true
	} else {
		record.messages[key.message] = true
	}
	c.similar.Add(key.similarKey, record)
}

// recent is what is known of the similar Events of key up to now, which is nothing after a longer pause.
func (c *correlator) recent(key similarKey, now time.Time) similar {
	record := similar{}
	if value, ok := c.similar.Get(key); ok {
		record = value.(similar)
	}
	if record.messages == nil || now.Sub(record.last) > similarGap {
		record = similar{messages: map[string]bool{}}
	}
	record.last = now
	return record
}

func keyOf(e *corev1.Event) sameKey {
	of := e.InvolvedObject
	key := sameKey{similarKey: similarKey{reason: e.Reason, spamKey: spamKey{
		component: e.Source.Component, host: e.Source.Host, apiVersion: of.APIVersion, kind: of.Kind,
		namespace: of.Namespace, name: of.Name, uid: of.UID, eventType: e.Type,
	}}}
	if strings.HasPrefix(e.Message, combinedText) {
		key.combined = true
		return key
	}
	key.fieldPath, key.message = of.FieldPath, e.Message
	return key
}
