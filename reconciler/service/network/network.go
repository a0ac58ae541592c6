package network

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"

	"github.com/belay-dev/belay/reconciler/names"
	"github.com/belay-dev/belay/reconciler/service"
	"github.com/belay-dev/belay/reconciler/service/podnet"
	"github.com/belay-dev/belay/state"
)

// Network carries connections to Services and answers for their names. Make it with New; it works while Run does.
type Network struct {
	proxy   *service.Proxy
	table   *names.Table
	cluster *Cluster // nil: nobody asks for names

	mu     sync.Mutex // guards what follows
	fronts map[string]service.Front
	over   bool
}

var _ service.Doorkeeper = (*Network)(nil)

// New makes a network that reaches pods by dial. Cluster is nil where ClusterIPs are nobody's; Run closes it.
func New(dial service.Dial, cluster *Cluster) *Network {
	n := &Network{proxy: service.NewProxy(cluster.datagrams(dial)), table: &names.Table{}, cluster: cluster, fronts: map[string]service.Front{}}
	if cluster != nil {
		n.proxy.Listen, n.proxy.ListenPacket = cluster.listen, cluster.listenPacket
	}
	return n
}

// Run works until ctx ends; then it breaks the connections that are left, and returns when all have ended. After Retire
// it returns when they have ended by themselves. It is called once.
func (n *Network) Run(ctx context.Context) error {
	if n.cluster == nil {
		return n.proxy.Run(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := names.NewServer(n.table, names.Resolvers(resolvConf, n.cluster.Names))
	var wg sync.WaitGroup
	errs := make([]error, 3)
	for i, run := range []func() error{
		func() error { return n.proxy.Run(ctx) },
		func() error { return server.ServePacket(ctx, n.cluster.packets) },
		func() error { return server.Serve(ctx, n.cluster.conns) },
	} {
		wg.Go(func() {
			if errs[i] = run(); n.retired() {
				errs[i] = nil // it was closed on purpose
				return
			}
			cancel() // none goes on without the others
		})
	}
	wg.Wait()
	if stack := n.stack(); stack != nil {
		if n.retired() {
			select {
			case <-stack.Idle():
			case <-ctx.Done():
			}
		}
		errs = append(errs, stack.Close())
	}
	return errors.Join(errs...)
}

// resolvConf names the machine's name servers.
const resolvConf = "/etc/resolv.conf"

// Set implements service.Doorkeeper. It waits for Run.
func (n *Network) Set(ctx context.Context, owner string, want service.Front) (map[string]string, error) {
	n.mu.Lock()
	if n.fronts[owner] = want; len(want.Listeners) == 0 && want.Name == nil {
		delete(n.fronts, owner)
	}
	n.mu.Unlock()
	if want.Name != nil {
		n.table.Set(*want.Name)
	} else if kind, namespace, name := service.Owner(owner); kind == state.KindService {
		n.table.Remove(namespace, name)
	}
	return n.proxy.Set(ctx, owner, want.Listeners)
}

// stack is the network of pods that have none of the machine's; nil: there is none.
func (n *Network) stack() *podnet.Net {
	if n.cluster == nil {
		return nil
	}
	return n.cluster.stack
}

// Owners lists whom Set was called for, in order.
func (n *Network) Owners() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(maps.Keys(n.fronts))
}

// wanted says whether there is any Service but that of the Kubernetes API, which is always there.
func (n *Network) wanted() bool {
	of := state.KubernetesService.Namespace + "/" + state.KubernetesService.Name
	return slices.ContainsFunc(n.Owners(), func(owner string) bool { return owner != of })
}

// Drain takes a pod out of every listener: see (*service.Proxy).Drain.
func (n *Network) Drain(ctx context.Context, uid string) error { return n.proxy.Drain(ctx, uid) }

// Forget ends what Drain remembers of a pod that is gone.
func (n *Network) Forget(_ context.Context, uid string) error {
	n.proxy.Forget(uid)
	return nil
}

// Retire takes nothing new any more. What is being carried goes on to its end, and then Run returns.
func (n *Network) Retire() error {
	n.mu.Lock()
	n.over = true
	n.mu.Unlock()
	return errors.Join(n.proxy.Retire(), n.cluster.closeNames())
}

func (n *Network) retired() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.over
}

// Dial reaches pods by their own addresses; those without one are on this machine's.
func Dial(ctx context.Context, b service.Backend) (net.Conn, error) {
	var d net.Dialer
	kind := "tcp"
	if b.UDP {
		kind = "udp"
	}
	return d.DialContext(ctx, kind, net.JoinHostPort(cmp.Or(b.IP, "127.0.0.1"), strconv.Itoa(int(b.Port))))
}
