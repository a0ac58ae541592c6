//go:build linux

package embedded

import (
	"math"
	"strconv"

	"github.com/belay-dev/belay/reconciler/node"
)

// setting is a file of a control group and what is written to it; empty: nothing is.
type setting struct {
	file, value string
	// spare says that a kernel may be built or started without the file, and what it bounds is not there either then.
	spare bool
}

// settings are those of each controller, in the order in which the kernel takes them: what the kubelet asks for and runc writes
// for a container.
func settings(unified bool, processes int, r node.Resources) map[string][]setting {
	quota, shares := cpuQuota(r.MilliCPU), cpuShares(r.MilliCPURequest)
	pids := []setting{{file: "pids.max", value: strconv.Itoa(processes)}}
	if unified {
		limit := ""
		if quota > 0 {
			limit = strconv.FormatInt(quota, 10) + " " + strconv.Itoa(cpuPeriod)
		}
		return map[string][]setting{
			// No container swaps, and one that exceeds its limit ends as a whole.
			"memory": {
				{file: "memory.max", value: bound(r.Memory)}, {file: "memory.swap.max", value: "0", spare: true},
				{file: "memory.oom.group", value: "1"},
			},
			"cpu":  {{file: "cpu.max", value: limit}, {file: "cpu.weight", value: bound(cpuWeight(shares))}},
			"pids": pids,
		}
	}
	return map[string][]setting{
		"memory": {
			{file: "memory.limit_in_bytes", value: bound(r.Memory)},
			{file: "memory.memsw.limit_in_bytes", value: bound(r.Memory), spare: true},
		},
		"cpu": {
			{file: "cpu.cfs_quota_us", value: bound(quota)}, {file: "cpu.shares", value: bound(shares)},
		},
		"pids": pids,
	}
}

// cpuPeriod is how long a period is in which a container may use its quota, in microseconds: in a new group it is so.
const cpuPeriod = 100_000

// cpuQuota is how many microseconds of a period a limit is, one millisecond at least; 0: there is no limit.
func cpuQuota(milli int64) int64 {
	const least = 1000
	if milli <= 0 {
		return 0
	}
	return max(milli*cpuPeriod/1000, least)
}

// cpuShares is a request as version 1 weighs it. What asks for nothing gets the least.
func cpuShares(milli int64) int64 {
	const least, most, core = 2, 1 << 18, 1024
	return min(max(milli*core/1000, least), most)
}

// cpuWeight is what shares of version 1 are in version 2, as runc has it since 1.3.2: a curve through (2, 1), (1024, 100),
// which are the defaults, and (262144, 10000).
func cpuWeight(shares int64) int64 {
	const most = 10_000
	l := math.Log2(float64(shares))
	return min(int64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34))), most)
}

// bound is a number as a file of a group takes it; empty: there is none.
func bound(n int64) string {
	if n <= 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}
