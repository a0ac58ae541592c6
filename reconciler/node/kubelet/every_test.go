package kubelet

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// fate is what becomes of a field: a driver or the agent does what it says, or nothing is to be done and why says so, or
// it is refused, as a spec that has it shows.
type fate struct {
	why    string
	refuse func(*corev1.PodSpec)
}

// done is the fate of a field that is done as it says.
var done = fate{}

func nothing(why string) fate { return fate{why: why} }

func refused(f func(*corev1.PodSpec)) fate { return fate{refuse: f} }

// ofContainer, ofMount and the like have the first of each have a field.
func ofContainer(f func(*corev1.Container)) fate {
	return refused(func(s *corev1.PodSpec) { f(&s.Containers[0]) })
}

func ofSecurity(f func(*corev1.SecurityContext)) fate {
	return ofContainer(func(c *corev1.Container) { f(c.SecurityContext) })
}

func ofPod(f func(*corev1.PodSecurityContext)) fate {
	return refused(func(s *corev1.PodSpec) { f(s.SecurityContext) })
}

func ofEnv(f func(*corev1.EnvVarSource)) fate {
	return ofContainer(func(c *corev1.Container) {
		from := &corev1.EnvVarSource{}
		f(from)
		c.Env = []corev1.EnvVar{{Name: "A", ValueFrom: from}}
	})
}

func ofMount(f func(*corev1.VolumeMount)) fate {
	return ofContainer(func(c *corev1.Container) {
		c.VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
		f(&c.VolumeMounts[0])
	})
}

func ofSource(f func(*corev1.VolumeProjection)) fate {
	return refused(func(s *corev1.PodSpec) {
		p := corev1.VolumeProjection{}
		f(&p)
		s.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{p}}}}}
	})
}

const (
	oneMachine = "there is one machine, and every pod is on it"
	noAPI      = "pods have no API server that would take a token"
	noResize   = "containers are never resized in place"
)

// fates has every field below a pod's spec. A field that a version of Kubernetes adds is missing here.
var fates = map[reflect.Type]map[string]fate{
	reflect.TypeFor[corev1.PodSpec](): {
		"Volumes": done, "InitContainers": done, "Containers": done, "RestartPolicy": done, "TerminationGracePeriodSeconds": done,
		"DNSPolicy": done, "HostNetwork": done, "SecurityContext": done, "ImagePullSecrets": done, "Hostname": done, "HostAliases": done,
		"DNSConfig": done, "ReadinessGates": done, "HostnameOverride": done, "SchedulingGates": done,
		"EphemeralContainers":   refused(func(s *corev1.PodSpec) { s.EphemeralContainers = make([]corev1.EphemeralContainer, 1) }),
		"ActiveDeadlineSeconds": refused(func(s *corev1.PodSpec) { s.ActiveDeadlineSeconds = to(int64(1)) }),
		"HostPID":               refused(func(s *corev1.PodSpec) { s.HostPID = true }), "HostIPC": refused(func(s *corev1.PodSpec) { s.HostIPC = true }),
		"ShareProcessNamespace": refused(func(s *corev1.PodSpec) { s.ShareProcessNamespace = to(true) }),
		"Subdomain":             refused(func(s *corev1.PodSpec) { s.Subdomain = "web" }),
		"RuntimeClassName":      refused(func(s *corev1.PodSpec) { s.RuntimeClassName = to("gvisor") }),
		"HostUsers":             refused(func(s *corev1.PodSpec) { s.HostUsers = to(false) }),
		"ResourceClaims":        refused(func(s *corev1.PodSpec) { s.ResourceClaims = make([]corev1.PodResourceClaim, 1) }),
		"Resources":             refused(func(s *corev1.PodSpec) { s.Resources = &corev1.ResourceRequirements{} }),
		"OS":                    refused(func(s *corev1.PodSpec) { s.OS = &corev1.PodOS{Name: corev1.Windows} }),
		"NodeSelector":          nothing(oneMachine), "NodeName": nothing(oneMachine), "Affinity": nothing(oneMachine), "SchedulerName": nothing(oneMachine),
		"Tolerations": nothing(oneMachine), "PriorityClassName": nothing(oneMachine), "Priority": nothing(oneMachine),
		"PreemptionPolicy": nothing(oneMachine), "Overhead": nothing(oneMachine), "TopologySpreadConstraints": nothing(oneMachine),
		"SchedulingGroup": nothing(oneMachine), "ServiceAccountName": nothing(noAPI), "DeprecatedServiceAccount": nothing(noAPI),
		"AutomountServiceAccountToken": nothing(noAPI),
		"EnableServiceLinks":           nothing("Services are found by their names"),
		"SetHostnameAsFQDN":            nothing("without a subdomain the name is the same"),
	},
	reflect.TypeFor[corev1.Container](): {
		"Name": done, "Image": done, "Command": done, "Args": done, "WorkingDir": done, "Ports": done, "EnvFrom": done, "Env": done, "Resources": done,
		"VolumeMounts": done, "LivenessProbe": done, "ReadinessProbe": done, "StartupProbe": done, "Lifecycle": done, "TerminationMessagePath": done,
		"TerminationMessagePolicy": done, "ImagePullPolicy": done, "SecurityContext": done, "Stdin": done, "StdinOnce": done, "TTY": done,
		"ResizePolicy":       nothing(noResize),
		"RestartPolicy":      ofContainer(func(c *corev1.Container) { c.RestartPolicy = to(corev1.ContainerRestartPolicyAlways) }),
		"RestartPolicyRules": ofContainer(func(c *corev1.Container) { c.RestartPolicyRules = make([]corev1.ContainerRestartRule, 1) }),
		"VolumeDevices":      ofContainer(func(c *corev1.Container) { c.VolumeDevices = make([]corev1.VolumeDevice, 1) }),
	},
	reflect.TypeFor[corev1.PodSecurityContext](): {
		"RunAsUser": done, "RunAsGroup": done, "RunAsNonRoot": done, "SupplementalGroups": done, "FSGroup": done, "Sysctls": done,
		"SELinuxOptions": ofPod(func(c *corev1.PodSecurityContext) { c.SELinuxOptions = &corev1.SELinuxOptions{} }),
		"WindowsOptions": ofPod(func(c *corev1.PodSecurityContext) { c.WindowsOptions = &corev1.WindowsSecurityContextOptions{} }),
		"SupplementalGroupsPolicy": ofPod(func(c *corev1.PodSecurityContext) {
			c.SupplementalGroupsPolicy = to(corev1.SupplementalGroupsPolicyStrict)
		}),
		"SeccompProfile": ofPod(func(c *corev1.PodSecurityContext) {
			c.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost}
		}),
		"AppArmorProfile": ofPod(func(c *corev1.PodSecurityContext) {
			c.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost}
		}),
		"FSGroupChangePolicy": nothing("the volumes that have a group are made anew for each pod"),
		"SELinuxChangePolicy": nothing("labels of SELinux are refused"),
	},
	reflect.TypeFor[corev1.SecurityContext](): {
		"Capabilities": done, "Privileged": done, "RunAsUser": done, "RunAsGroup": done, "RunAsNonRoot": done, "ReadOnlyRootFilesystem": done,
		"AllowPrivilegeEscalation": done,
		"SELinuxOptions":           ofSecurity(func(c *corev1.SecurityContext) { c.SELinuxOptions = &corev1.SELinuxOptions{} }),
		"WindowsOptions":           ofSecurity(func(c *corev1.SecurityContext) { c.WindowsOptions = &corev1.WindowsSecurityContextOptions{} }),
		"ProcMount":                ofSecurity(func(c *corev1.SecurityContext) { c.ProcMount = to(corev1.UnmaskedProcMount) }),
		"SeccompProfile": ofSecurity(func(c *corev1.SecurityContext) {
			c.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost}
		}),
		"AppArmorProfile": ofSecurity(func(c *corev1.SecurityContext) {
			c.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost}
		}),
	},
	reflect.TypeFor[corev1.ContainerPort](): {
		"Name": done, "ContainerPort": done, "Protocol": done,
		"HostPort": done,
		"HostIP":   ofContainer(func(c *corev1.Container) { c.Ports = []corev1.ContainerPort{{HostPort: 80, HostIP: "192.0.2.1"}} }),
	},
	reflect.TypeFor[corev1.ResourceRequirements](): {
		"Requests": done,
		"Limits": ofContainer(func(c *corev1.Container) {
			c.Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("1Gi")}
		}),
		"Claims": ofContainer(func(c *corev1.Container) { c.Resources.Claims = make([]corev1.ResourceClaim, 1) }),
	},
	reflect.TypeFor[corev1.VolumeMount](): {
		"Name": done, "ReadOnly": done, "MountPath": done, "SubPath": done, "SubPathExpr": done,
		"RecursiveReadOnly": ofMount(func(m *corev1.VolumeMount) { m.RecursiveReadOnly = to(corev1.RecursiveReadOnlyEnabled) }),
		"MountPropagation":  ofMount(func(m *corev1.VolumeMount) { m.MountPropagation = to(corev1.MountPropagationBidirectional) }),
	},
	reflect.TypeFor[corev1.EnvVarSource](): {
		"FieldRef": done, "ConfigMapKeyRef": done, "SecretKeyRef": done,
		"ResourceFieldRef": ofEnv(func(s *corev1.EnvVarSource) {
			s.ResourceFieldRef = &corev1.ResourceFieldSelector{Resource: "limits.cpu"}
		}),
		"FileKeyRef": ofEnv(func(s *corev1.EnvVarSource) { s.FileKeyRef = &corev1.FileKeySelector{} }),
	},
	reflect.TypeFor[corev1.EmptyDirVolumeSource](): {
		"SizeLimit": done,
		"Medium": refused(func(s *corev1.PodSpec) {
			s.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumHugePages}}}}
		}),
	},
	reflect.TypeFor[corev1.VolumeProjection](): {
		"Secret": done, "DownwardAPI": done, "ConfigMap": done,
		"ServiceAccountToken": ofSource(func(p *corev1.VolumeProjection) { p.ServiceAccountToken = &corev1.ServiceAccountTokenProjection{} }),
		"ClusterTrustBundle":  ofSource(func(p *corev1.VolumeProjection) { p.ClusterTrustBundle = &corev1.ClusterTrustBundleProjection{} }),
		"PodCertificate":      ofSource(func(p *corev1.VolumeProjection) { p.PodCertificate = &corev1.PodCertificateProjection{} }),
	},
	reflect.TypeFor[corev1.Probe](): {
		"ProbeHandler": done, "InitialDelaySeconds": done, "TimeoutSeconds": done, "PeriodSeconds": done, "SuccessThreshold": done,
		"FailureThreshold": done, "TerminationGracePeriodSeconds": done,
	},
	reflect.TypeFor[corev1.ProbeHandler]():     {"Exec": done, "HTTPGet": done, "TCPSocket": done, "GRPC": done},
	reflect.TypeFor[corev1.LifecycleHandler](): {"Exec": done, "HTTPGet": done, "TCPSocket": nothing("Kubernetes does nothing either"), "Sleep": done},
	reflect.TypeFor[corev1.Lifecycle](): {
		"PostStart": done, "PreStop": done,
		"StopSignal": ofContainer(func(c *corev1.Container) { c.Lifecycle = &corev1.Lifecycle{StopSignal: to(corev1.SIGKILL)} }),
	},
}

// volumesDone are the kinds of volumes that there are; every other is refused.
var volumesDone = []string{"EmptyDir", "HostPath", "ConfigMap", "Secret", "DownwardAPI", "Projected"}

// TestEveryField has an answer to each field that a pod may have: none is ignored in silence.
func TestEveryField(t *testing.T) {
	for typ, fields := range fates {
		for i := range typ.NumField() {
			if _, ok := fields[typ.Field(i).Name]; !ok {
				t.Errorf("%s.%s: nobody has said what becomes of it", typ, typ.Field(i).Name)
			}
		}
		for name, f := range fields {
			field, ok := typ.FieldByName(name)
			if !ok {
				t.Errorf("%s has no %s any more", typ, name)
				continue
			}
			if f.refuse == nil {
				continue
			}
			spec := &corev1.PodSpec{
				SecurityContext: &corev1.PodSecurityContext{}, Containers: []corev1.Container{{Name: "c", SecurityContext: &corev1.SecurityContext{}}},
			}
			if u := Supports(spec, nil); len(u) != 0 {
				t.Fatalf("before: %v", u)
			}
			f.refuse(spec)
			tag, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			found := Supports(spec, nil)
			named := func(at string) bool {
				return strings.Contains(at, tag) || typ == reflect.TypeFor[corev1.VolumeProjection]() && strings.Contains(at, "sources[0]")
			}
			if len(found) != 1 || !named(found[0].Field) {
				t.Errorf("%s.%s: refused as %v", typ, name, found)
			}
		}
	}
	volumes := reflect.TypeFor[corev1.VolumeSource]()
	for i := range volumes.NumField() {
		var v corev1.Volume
		reflect.ValueOf(&v.VolumeSource).Elem().Field(i).Set(reflect.New(volumes.Field(i).Type.Elem()))
		found := Supports(&corev1.PodSpec{Volumes: []corev1.Volume{v}}, []string{"/", "."})
		if is := len(found) == 0; is != slices.Contains(volumesDone, volumes.Field(i).Name) {
			t.Errorf("volume of the kind %s: %v", volumes.Field(i).Name, found)
		}
	}
}
