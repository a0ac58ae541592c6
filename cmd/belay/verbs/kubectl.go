package verbs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/kubectl/pkg/cmd/annotate"
	"k8s.io/kubectl/pkg/cmd/apiresources"
	"k8s.io/kubectl/pkg/cmd/apply"
	"k8s.io/kubectl/pkg/cmd/attach"
	"k8s.io/kubectl/pkg/cmd/auth"
	"k8s.io/kubectl/pkg/cmd/cp"
	"k8s.io/kubectl/pkg/cmd/create"
	"k8s.io/kubectl/pkg/cmd/delete"
	"k8s.io/kubectl/pkg/cmd/describe"
	"k8s.io/kubectl/pkg/cmd/edit"
	"k8s.io/kubectl/pkg/cmd/events"
	"k8s.io/kubectl/pkg/cmd/exec"
	"k8s.io/kubectl/pkg/cmd/explain"
	"k8s.io/kubectl/pkg/cmd/expose"
	"k8s.io/kubectl/pkg/cmd/get"
	"k8s.io/kubectl/pkg/cmd/label"
	"k8s.io/kubectl/pkg/cmd/logs"
	"k8s.io/kubectl/pkg/cmd/patch"
	"k8s.io/kubectl/pkg/cmd/portforward"
	"k8s.io/kubectl/pkg/cmd/replace"
	"k8s.io/kubectl/pkg/cmd/rollout"
	"k8s.io/kubectl/pkg/cmd/run"
	"k8s.io/kubectl/pkg/cmd/scale"
	"k8s.io/kubectl/pkg/cmd/set"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/cmd/wait"
	utilcomp "k8s.io/kubectl/pkg/util/completion"

	"github.com/belay-dev/belay/cmd/belay/app"
)

// kubernetesGroup is the group of kubectl's commands in the help.
const kubernetesGroup = "kubernetes"

// kubernetes are kubectl's own commands against the service of the data directory. What they print is kubectl's, word for
// word; so are their exit statuses.
func (e *env) kubernetes() []*cobra.Command {
	s := &service{env: e, flags: genericclioptions.NewConfigFlags(true)}
	f, streams := cmdutil.NewFactory(cmdutil.NewMatchVersionFlags(s)), genericiooptions.IOStreams{In: e.in, Out: e.out, ErrOut: e.err}
	const parent = "belay"
	list := get.NewCmdGet(parent, f, streams)
	list.ValidArgsFunction = utilcomp.ResourceTypeAndNameCompletionFunc(f) // as kubectl does, whose packages would else import in a circle
	commands := []*cobra.Command{
		list, describe.NewCmdDescribe(parent, f, streams), events.NewCmdEvents(f, streams), logs.NewCmdLogs(f, streams),
		rollout.NewCmdRollout(parent, f, streams), scale.NewCmdScale(f, streams), set.NewCmdSet(f, streams),
		create.NewCmdCreate(f, streams), apply.NewCmdApply(parent, f, streams), edit.NewCmdEdit(f, streams),
		patch.NewCmdPatch(f, streams), replace.NewCmdReplace(f, streams), delete.NewCmdDelete(f, streams),
		label.NewCmdLabel(f, streams), annotate.NewCmdAnnotate(parent, f, streams), expose.NewCmdExposeService(f, streams),
		run.NewCmdRun(f, streams), wait.NewCmdWait(f, streams), portforward.NewCmdPortForward(f, streams),
		exec.NewCmdExec(f, streams), attach.NewCmdAttach(f, streams), cp.NewCmdCp(f, streams), auth.NewCmdAuth(f, streams),
		explain.NewCmdExplain(parent, f, streams), apiresources.NewCmdAPIResources(f, streams), apiresources.NewCmdAPIVersions(f, streams),
	}
	utilcomp.SetFactoryForCompletion(f)
	for _, cmd := range commands {
		cmd.GroupID = kubernetesGroup
		cmd.PersistentPreRunE = func(*cobra.Command, []string) error {
			e.uncaught()
			return s.find()
		}
		flags := cmd.PersistentFlags()
		flags.StringVarP(s.flags.Namespace, "namespace", "n", "", "namespace (default default)")
		flags.StringVar(s.flags.Timeout, "request-timeout", "0", "how long one request may take, as 1s or 2m; 0: as long as it takes")
		// The flag is there: it was added a line ago.
		_ = cmd.RegisterFlagCompletionFunc("namespace", func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
			return utilcomp.CompGetResource(f, "namespace", begun), cobra.ShellCompDirectiveNoFileComp
		})
		e.own(cmd)
	}
	return commands
}

// own makes a command of kubectl one of this program: its name in the texts, and an error that ends it returned.
func (e *env) own(cmd *cobra.Command) {
	for _, text := range []*string{&cmd.Long, &cmd.Example} {
		*text = strings.ReplaceAll(*text, "kubectl ", "belay ")
	}
	if do := cmd.Run; do != nil {
		cmd.Run, cmd.RunE = nil, func(cmd *cobra.Command, args []string) error { return e.fatal(func() { do(cmd, args) }) }
	}
	for _, c := range cmd.Commands() {
		e.own(c)
	}
}

// fatalError is what kubectl ends with.
type fatalError struct {
	text string
	code int
}

// raise has kubectl's commands panic where they would end the process.
var raise = sync.OnceFunc(func() { cmdutil.BehaviorOnFatal(func(text string, code int) { panic(fatalError{text, code}) }) })

// fatal does what a command of kubectl does. The error that ends it is printed as kubectl has it.
func (e *env) fatal(do func()) (err error) {
	raise()
	defer func() {
		switch end := recover().(type) {
		case nil:
		case fatalError:
			if text := strings.TrimSuffix(end.text, "\n"); text != "" {
				fmt.Fprintln(e.err, text)
			}
			err = &ExitError{Code: end.code}
		default:
			panic(end)
		}
	}()
	do()
	return nil
}

// service is the service of the data directory, as kubectl's commands look for a cluster. It is found when it is first
// needed: the data directory is a flag.
type service struct {
	*env
	flags *genericclioptions.ConfigFlags
	found sync.Once
	err   error
}

var _ genericclioptions.RESTClientGetter = (*service)(nil)

// find sets what reaches the service, which never is anything else that the environment names.
func (s *service) find() error {
	s.found.Do(func() {
		*s.flags.KubeConfig = os.DevNull
		var dir string
		if dir, s.err = app.DataDir(s.dataDir); s.err != nil {
			return
		}
		// Beside what is rendered: it may be deleted at any time.
		*s.flags.CacheDir = filepath.Join(dir, "cache", "kubectl")
		if *s.flags.KubeConfig, s.err = app.ServiceKubeconfig(dir); s.err != nil {
			*s.flags.KubeConfig = os.DevNull
			return
		}
		s.flags.WithDiscoveryBurst(300).WithDiscoveryQPS(50).WithWrapConfigFn(func(c *rest.Config) *rest.Config {
			c.WarningHandler = rest.NewWarningWriter(s.env.err, rest.WarningWriterOptions{Deduplicate: true, Color: isTerminal(s.env.err)})
			return c
		})
	})
	return s.err
}

func (s *service) ToRESTConfig() (*rest.Config, error) {
	if err := s.find(); err != nil {
		return nil, err
	}
	return s.flags.ToRESTConfig()
}

func (s *service) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	if err := s.find(); err != nil {
		return nil, err
	}
	return s.flags.ToDiscoveryClient()
}

func (s *service) ToRESTMapper() (meta.RESTMapper, error) {
	if err := s.find(); err != nil {
		return nil, err
	}
	return s.flags.ToRESTMapper()
}

func (s *service) ToRawKubeConfigLoader() clientcmd.ClientConfig {
	_ = s.find() // it has no error to return; nothing is reached then
	return s.flags.ToRawKubeConfigLoader()
}
