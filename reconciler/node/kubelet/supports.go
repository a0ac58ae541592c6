package kubelet

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/node"
)

// Supports lists what of a pod's spec a Kubelet cannot honour, and so keeps its containers from starting: fields below the
// spec. What has no meaning on a single machine (affinity, tolerations, priority and the like) is honoured by doing nothing.
func Supports(spec *corev1.PodSpec, hostPaths []string) []engine.Unsupported {
	s := &survey{}
	s.pod(spec)
	for i := range spec.Volumes {
		s.volume(fmt.Sprintf("volumes[%d]", i), &spec.Volumes[i], hostPaths)
	}
	for i := range spec.InitContainers {
		s.container(fmt.Sprintf("initContainers[%d]", i), &spec.InitContainers[i])
		s.ports(fmt.Sprintf("initContainers[%d]", i), &spec.InitContainers[i], spec.HostNetwork)
	}
	for i := range spec.Containers {
		s.container(fmt.Sprintf("containers[%d]", i), &spec.Containers[i])
		s.ports(fmt.Sprintf("containers[%d]", i), &spec.Containers[i], spec.HostNetwork)
	}
	s.parts(spec)
	return s.found
}

// Supports lists what of a pod's spec this one cannot honour, over its driver.
func (k *Kubelet) Supports(spec *corev1.PodSpec) []engine.Unsupported {
	found := Supports(spec, k.HostPaths)
	if h, ok := k.Runtime.(node.MemoryHolder); ok && h.HoldsMemory() {
		return found
	}
	s := &survey{found: found}
	for i := range spec.Volumes {
		s.when(inMemory(&spec.Volumes[i]), fmt.Sprintf("volumes[%d].emptyDir.medium", i), "this runtime has no volumes in memory")
	}
	return s.found
}

// parts refuses mounts of a part of a volume in memory: no driver can give one.
func (s *survey) parts(spec *corev1.PodSpec) {
	held := map[string]bool{}
	for i := range spec.Volumes {
		held[spec.Volumes[i].Name] = inMemory(&spec.Volumes[i])
	}
	look := func(at string, mounts []corev1.VolumeMount) {
		for i, m := range mounts {
			const why = "of a volume in memory is not supported"
			s.when(held[m.Name] && m.SubPath != "", fmt.Sprintf("%s.volumeMounts[%d].subPath", at, i), why)
			s.when(held[m.Name] && m.SubPathExpr != "", fmt.Sprintf("%s.volumeMounts[%d].subPathExpr", at, i), why)
		}
	}
	for i, c := range spec.InitContainers {
		look(fmt.Sprintf("initContainers[%d]", i), c.VolumeMounts)
	}
	for i, c := range spec.Containers {
		look(fmt.Sprintf("containers[%d]", i), c.VolumeMounts)
	}
}

type survey struct{ found []engine.Unsupported }

func (s *survey) when(is bool, field, message string) {
	if is {
		s.found = append(s.found, engine.Unsupported{Field: field, Message: message})
	}
}

const noSuch = "is not supported"

func (s *survey) pod(spec *corev1.PodSpec) {
	s.when(spec.HostPID, "hostPID", noSuch)
	s.when(spec.HostIPC, "hostIPC", noSuch)
	s.when(spec.ShareProcessNamespace != nil && *spec.ShareProcessNamespace, "shareProcessNamespace", noSuch)
	s.when(spec.HostUsers != nil && !*spec.HostUsers, "hostUsers", "user namespaces are not supported")
	s.when(spec.RuntimeClassName != nil, "runtimeClassName", noSuch)
	s.when(spec.ActiveDeadlineSeconds != nil, "activeDeadlineSeconds", noSuch)
	s.when(len(spec.EphemeralContainers) > 0, "ephemeralContainers", noSuch)
	s.when(len(spec.ResourceClaims) > 0, "resourceClaims", noSuch)
	s.when(spec.Resources != nil, "resources", "resources of a whole pod are not supported, those of its containers are")
	s.when(spec.Subdomain != "", "subdomain", noSuch)
	s.when(spec.OS != nil && spec.OS.Name != corev1.Linux, "os", "pods run on Linux")
	s.when(spec.DNSPolicy == corev1.DNSNone && spec.DNSConfig == nil, "dnsConfig", "is missing beside dnsPolicy None")
	c := spec.SecurityContext
	if c == nil {
		return
	}
	s.when(c.SELinuxOptions != nil, "securityContext.seLinuxOptions", noSuch)
	s.when(c.SupplementalGroupsPolicy != nil && *c.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict,
		"securityContext.supplementalGroupsPolicy", "the groups that the image gives its user count too: only Merge is supported")
	s.when(c.WindowsOptions != nil, "securityContext.windowsOptions", noSuch)
	s.when(local(c.SeccompProfile), "securityContext.seccompProfile", "Localhost profiles are not supported")
	s.when(c.AppArmorProfile != nil && c.AppArmorProfile.Type == corev1.AppArmorProfileTypeLocalhost,
		"securityContext.appArmorProfile", "Localhost profiles are not supported")
}

func local(p *corev1.SeccompProfile) bool {
	return p != nil && p.Type == corev1.SeccompProfileTypeLocalhost
}

func (s *survey) volume(at string, v *corev1.Volume, hostPaths []string) {
	switch {
	case v.EmptyDir != nil:
		s.when(v.EmptyDir.Medium != corev1.StorageMediumDefault && !inMemory(v), at+".emptyDir.medium", "only the default medium and Memory are supported")
	case v.HostPath != nil:
		s.when(!allowed(hostPaths, v.HostPath.Path), at+".hostPath.path", fmt.Sprintf("%q is not among the hostPaths of the configuration", v.HostPath.Path))
	case v.ConfigMap != nil, v.Secret != nil, v.DownwardAPI != nil:
	case v.Projected != nil:
		for i, source := range v.Projected.Sources {
			known := source.ConfigMap != nil || source.Secret != nil || source.DownwardAPI != nil
			s.when(!known, fmt.Sprintf("%s.projected.sources[%d]", at, i), "only configMap, secret and downwardAPI are supported")
		}
	default:
		s.when(true, at, "only emptyDir, configMap, secret, downwardAPI, projected and hostPath are supported")
	}
}

func (s *survey) container(at string, c *corev1.Container) {
	s.when(len(c.VolumeDevices) > 0, at+".volumeDevices", noSuch)
	s.when(c.RestartPolicy != nil && !strings.HasPrefix(at, "init"), at+".restartPolicy", noSuch)
	s.when(len(c.RestartPolicyRules) > 0, at+".restartPolicyRules", noSuch)
	s.when(len(c.Resources.Claims) > 0, at+".resources.claims", noSuch)
	for _, name := range slices.Sorted(maps.Keys(c.Resources.Limits)) {
		s.when(name != corev1.ResourceCPU && name != corev1.ResourceMemory, fmt.Sprintf("%s.resources.limits[%s]", at, name), noSuch)
	}
	s.when(c.Lifecycle != nil && c.Lifecycle.StopSignal != nil, at+".lifecycle.stopSignal", noSuch)
	for i, m := range c.VolumeMounts {
		field := fmt.Sprintf("%s.volumeMounts[%d]", at, i)
		s.when(m.RecursiveReadOnly != nil && *m.RecursiveReadOnly == corev1.RecursiveReadOnlyEnabled, field+".recursiveReadOnly", noSuch)
		s.when(m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone, field+".mountPropagation", noSuch)
	}
	for i, e := range c.Env {
		field := fmt.Sprintf("%s.env[%d].valueFrom", at, i)
		if e.ValueFrom != nil {
			s.when(e.ValueFrom.FileKeyRef != nil, field+".fileKeyRef", noSuch)
			s.resource(field, c, e.ValueFrom.ResourceFieldRef)
		}
	}
	s.security(at+".securityContext", c.SecurityContext)
}

// anywhere stands for every address.
const anywhere = "0.0.0.0"

// ports refuses ports of one address of the machine for a pod that has a network of its own: there is one for all.
func (s *survey) ports(at string, c *corev1.Container, hostNetwork bool) {
	for i, p := range c.Ports {
		s.when(p.HostPort != 0 && p.HostIP != "" && p.HostIP != anywhere && !hostNetwork, fmt.Sprintf("%s.ports[%d].hostIP", at, i),
			"the port is on the address of services.listen")
	}
}

// resource refuses what depends on how much the machine has.
func (s *survey) resource(at string, c *corev1.Container, ref *corev1.ResourceFieldSelector) {
	if ref == nil || ref.ContainerName != "" && ref.ContainerName != c.Name {
		return
	}
	name, isLimit := strings.CutPrefix(ref.Resource, "limits.")
	_, set := c.Resources.Limits[corev1.ResourceName(name)]
	s.when(isLimit && !set, at+".resourceFieldRef", "the container has no such limit")
}

func (s *survey) security(at string, c *corev1.SecurityContext) {
	if c == nil {
		return
	}
	s.when(c.SELinuxOptions != nil, at+".seLinuxOptions", noSuch)
	s.when(c.WindowsOptions != nil, at+".windowsOptions", noSuch)
	s.when(c.ProcMount != nil && *c.ProcMount != corev1.DefaultProcMount, at+".procMount", noSuch)
	s.when(local(c.SeccompProfile), at+".seccompProfile", "Localhost profiles are not supported")
	s.when(c.AppArmorProfile != nil && c.AppArmorProfile.Type == corev1.AppArmorProfileTypeLocalhost,
		at+".appArmorProfile", "Localhost profiles are not supported")
}
