package app

import (
	"bufio"
	"os"
	"regexp"
	"runtime"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/node"
)

// shownNode is the node on which all pods are, as clients of the Kubernetes API see it: this machine.
func shownNode(pods Runtime) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, Labels: map[string]string{
			corev1.LabelHostname: node.Name, corev1.LabelOSStable: runtime.GOOS, corev1.LabelArchStable: runtime.GOARCH,
		}},
		Status: corev1.NodeStatus{
			Capacity: corev1.ResourceList{corev1.ResourceCPU: *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI)},
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}, // as the pods say
				{Type: corev1.NodeHostName, Address: node.Name},
			},
			NodeInfo: corev1.NodeSystemInfo{
				OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH, ContainerRuntimeVersion: string(pods) + "://",
				OSImage:       unquoted(lineOf("/etc/os-release", `^PRETTY_NAME=(.+)$`)),
				KernelVersion: lineOf("/proc/sys/kernel/osrelease", `^(.+)$`),
			},
		},
	}
	if host, err := os.Hostname(); err == nil {
		n.Status.Addresses[1].Address = host
	}
	if memory, err := resource.ParseQuantity(lineOf("/proc/meminfo", `^MemTotal: +([0-9]+) kB$`) + "Ki"); err == nil {
		n.Status.Capacity[corev1.ResourceMemory] = memory
	}
	return n
}

// lineOf is what an expression finds first in the lines of a file; empty: nothing, or there is no such file here.
func lineOf(file, expression string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	re := regexp.MustCompile(expression)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if m := re.FindStringSubmatch(lines.Text()); m != nil {
			return m[1]
		}
	}
	return ""
}

func unquoted(s string) string { return strings.Trim(s, `"'`) }
