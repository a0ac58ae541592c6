package names

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// Domain is that of the cluster.
const Domain = "cluster.local"

// Searches are the domains that pods of a namespace search a name in, as on any cluster.
func Searches(namespace string) []string {
	return []string{namespace + ".svc." + Domain, "svc." + Domain, Domain}
}

// Dots is how many dots a name has that is searched for last.
const Dots = "ndots:5"

// Service is what its name stands for.
type Service struct {
	Namespace, Name string
	Addresses       []netip.Addr // the ClusterIP, or the pods of a headless Service
	Alias           string       // another name, of an ExternalName; empty: none
	Ports           []Port
}

// Port is a named port, for who asks for a SRV record.
type Port struct {
	Name     string
	Protocol string // tcp or udp
	Number   uint16
}

// Table knows the names of Services. The zero value knows none.
type Table struct {
	mu       sync.RWMutex
	services map[string]Service // NAME.NAMESPACE, in lower case
}

// Set makes s what its name stands for from now on.
func (t *Table) Set(s Service) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.services == nil {
		t.services = map[string]Service{}
	}
	t.services[s.Name+"."+s.Namespace] = s
}

// Remove forgets a Service.
func (t *Table) Remove(namespace, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.services, name+"."+namespace)
}

// ttl of an answer in seconds: short, because Services change.
const ttl = 5

// largest answer over UDP to who did not say that it takes more, and to who did.
const (
	plainSize    = 512
	extendedSize = 1232
)

// Answer answers a query about the cluster. mine is false when it asks about something else; the error says that it is no
// query at all. Over TCP an answer may be large.
func (t *Table) Answer(query []byte, tcp bool) (answer []byte, mine bool, err error) {
	var p dnsmessage.Parser
	header, err := p.Start(query)
	if err != nil {
		return nil, false, err
	}
	q, err := p.Question()
	if err != nil {
		return nil, false, err
	}
	name, mine := strings.CutSuffix(strings.ToLower(q.Name.String()), "."+Domain+".")
	if !mine || header.Response || header.OpCode != 0 {
		return nil, false, nil
	}
	reply := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: header.ID, Response: true, Authoritative: true, RecursionDesired: header.RecursionDesired, RecursionAvailable: true,
		},
		Questions: []dnsmessage.Question{q},
	}
	found := false
	if reply.Answers, reply.Additionals, found = t.find(q, name); !found {
		reply.RCode = dnsmessage.RCodeNameError
	}
	answer, err = reply.Pack()
	if err == nil && !tcp && len(answer) > room(&p) {
		reply.Answers, reply.Additionals, reply.Truncated = nil, nil, true
		answer, err = reply.Pack()
	}
	return answer, true, err
}

// room is how large an answer over UDP may be.
func room(p *dnsmessage.Parser) int {
	if p.SkipAllQuestions() != nil || p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return plainSize
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return plainSize
		}
		if h.Type == dnsmessage.TypeOPT {
			return min(max(int(h.Class), plainSize), extendedSize)
		}
		if p.SkipAdditional() != nil {
			return plainSize
		}
	}
}

// find is what a name of the cluster stands for; false: there is no such name.
func (t *Table) find(q dnsmessage.Question, name string) (answers, more []dnsmessage.Resource, found bool) {
	host, ok := strings.CutSuffix(name, ".svc")
	if !ok {
		return nil, nil, name == "svc"
	}
	labels := strings.Split(host, ".")
	t.mu.RLock()
	defer t.mu.RUnlock()
	switch {
	case len(labels) == 2:
		s, ok := t.services[host]
		return s.records(q), nil, ok
	case len(labels) == 4 && strings.HasPrefix(labels[0], "_") && strings.HasPrefix(labels[1], "_"):
		s, ok := t.services[labels[2]+"."+labels[3]]
		i := slices.IndexFunc(s.Ports, func(p Port) bool { return "_"+p.Name == labels[0] && "_"+p.Protocol == labels[1] })
		if !ok || i < 0 {
			return nil, nil, false
		}
		answers, more = s.port(q, s.Ports[i])
		return answers, more, true
	case len(labels) == 1: // a namespace is a name when something is in it
		for _, s := range t.services {
			if s.Namespace == host {
				return nil, nil, true
			}
		}
	}
	return nil, nil, false
}

// records are what a Service's own name has of the type that is asked for.
func (s Service) records(q dnsmessage.Question) []dnsmessage.Resource {
	if s.Alias != "" {
		alias, err := dnsmessage.NewName(strings.TrimSuffix(s.Alias, ".") + ".")
		if err != nil {
			return nil
		}
		return []dnsmessage.Resource{{Header: header(q.Name, dnsmessage.TypeCNAME), Body: &dnsmessage.CNAMEResource{CNAME: alias}}}
	}
	if q.Type != dnsmessage.TypeA && q.Type != dnsmessage.TypeALL {
		return nil
	}
	return s.addresses(q.Name)
}

// addresses are in another order each time, so that whoever takes the first spreads.
func (s Service) addresses(of dnsmessage.Name) []dnsmessage.Resource {
	var out []dnsmessage.Resource
	for _, ip := range s.Addresses {
		if ip.Is4() {
			out = append(out, dnsmessage.Resource{Header: header(of, dnsmessage.TypeA), Body: &dnsmessage.AResource{A: ip.As4()}})
		}
	}
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// port says where a named port of a Service is.
func (s Service) port(q dnsmessage.Question, p Port) (answers, more []dnsmessage.Resource) {
	target, err := dnsmessage.NewName(s.Name + "." + s.Namespace + ".svc." + Domain + ".")
	if err != nil || q.Type != dnsmessage.TypeSRV && q.Type != dnsmessage.TypeALL {
		return nil, nil
	}
	const weight = 100
	answer := dnsmessage.Resource{
		Header: header(q.Name, dnsmessage.TypeSRV), Body: &dnsmessage.SRVResource{Weight: weight, Port: p.Number, Target: target},
	}
	return []dnsmessage.Resource{answer}, s.addresses(target)
}

func header(of dnsmessage.Name, kind dnsmessage.Type) dnsmessage.ResourceHeader {
	return dnsmessage.ResourceHeader{Name: of, Type: kind, Class: dnsmessage.ClassINET, TTL: ttl}
}

// failure is the answer of a server that cannot tell; nil when the query is none.
func failure(query []byte) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil || h.Response {
		return nil
	}
	questions, err := p.AllQuestions()
	if err != nil {
		return nil
	}
	reply := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: h.ID, Response: true, OpCode: h.OpCode, RecursionDesired: h.RecursionDesired, RecursionAvailable: true,
			RCode: dnsmessage.RCodeServerFailure,
		},
		Questions: questions,
	}
	answer, err := reply.Pack()
	if err != nil {
		return nil
	}
	return answer
}
