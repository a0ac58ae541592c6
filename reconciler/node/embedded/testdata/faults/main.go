//go:build linux

// Command faults does in a container what no good program does. Its first argument says what:
//
//	wait            nothing, for ever; it waits for no child
//	bomb            starts processes until it can start no more, says so, and waits
//	orphan          leaves a process behind that waits
//	processes       lists the processes of the container: number, state, arguments
//	device FILE     makes a node of the device that is nothing, and reads it
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	if err := do(os.Args[1:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func do(args []string) error {
	switch args[0] {
	case "wait":
		return wait()
	case "bomb":
		return bomb()
	case "orphan":
		_, err := start(true)
		return err
	case "processes":
		return list()
	case "device":
		return device(args[1])
	}
	return errors.New("unknown verb")
}

// start starts a process that waits.
func start(apart bool) (int, error) {
	return syscall.ForkExec("/proc/self/exe", []string{"left", "wait"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Setsid: apart}})
}

func wait() error {
	for {
		_ = unix.Pause() // until a signal, of which none ends it
	}
}

func bomb() error {
	for n := 0; ; n++ {
		if _, err := start(false); err != nil {
			fmt.Printf("ended after %d: %v\n", n, err)
			return wait()
		}
	}
}

func list() error {
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, dir := range all {
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // it has gone
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		fmt.Println(filepath.Base(dir), rest[:1], strings.ReplaceAll(string(args), "\x00", " "))
	}
	return nil
}

func device(file string) error {
	if err := unix.Mknod(file, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		return fmt.Errorf("make: %w", err)
	}
	_, err := os.ReadFile(file)
	return err
}
