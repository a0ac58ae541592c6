//go:build linux

package embedded

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// user is whom a container's process runs as.
type user struct{ uid, gid uint32 }

// findUser reads what a container asks for, else what its image does: a number or a name, and after a colon a group. Where
// this process is not root, it can only be itself, which inside is 0.
func findUser(rootfs, asked, img string) (user, error) {
	text := asked
	if text == "" {
		text = img
	}
	if text == "" {
		return user{}, nil
	}
	name, group, grouped := strings.Cut(text, ":")
	var u user
	fields, err := lookUp(rootfs, "passwd", name)
	if err != nil {
		return user{}, err
	}
	switch n, numErr := strconv.ParseUint(name, 10, 32); {
	case fields != nil:
		if u.uid, err = number(fields[2]); err == nil {
			u.gid, err = number(fields[3])
		}
		if err != nil {
			return user{}, err
		}
	case numErr == nil:
		u.uid = uint32(n)
	default:
		return user{}, fmt.Errorf("unable to find user %s: no matching entries in passwd file", name)
	}
	if grouped {
		if u.gid, err = findGroup(rootfs, group); err != nil {
			return user{}, err
		}
	}
	if os.Geteuid() != 0 && u != (user{}) {
		return user{}, fmt.Errorf("user %s: without root, the embedded runtime runs containers as the user who runs belay (0 inside)", text)
	}
	return u, nil
}

func findGroup(rootfs, group string) (uint32, error) {
	fields, err := lookUp(rootfs, "group", group)
	if err != nil {
		return 0, err
	}
	if fields != nil {
		return number(fields[2])
	}
	n, err := strconv.ParseUint(group, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("unable to find group %s: no matching entries in group file", group)
	}
	return uint32(n), nil
}

func number(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err
}

// maxAccounts bounds how much of an image's file is read.
const maxAccounts = 1 << 20

// lookUp finds the line of a name, or of a number, in a file of the image's /etc; nil when there is none. Links are
// followed inside the image only.
func lookUp(rootfs, file, name string) ([]string, error) {
	root, err := os.OpenRoot(rootfs)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	f, err := root.Open("etc/" + file)
	if err != nil {
		return nil, nil //nolint:nilerr // an image need not have it, and one that leads outside has none
	}
	defer func() { _ = f.Close() }()
	const least = 4 // fields of either file
	scanner, read := bufio.NewScanner(f), 0
	for scanner.Scan() && read < maxAccounts {
		read += len(scanner.Bytes())
		fields := strings.Split(scanner.Text(), ":")
		if len(fields) >= least && (fields[0] == name || fields[2] == name) {
			return fields, nil
		}
	}
	return nil, nil
}
