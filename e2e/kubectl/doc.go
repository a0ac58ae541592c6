// Package kubectl holds the tests that run stock kubectl against a whole service: the command tree of its libraries,
// and the kubectl that is installed. It owns what kubectl must see, and never holds anything but tests.
package kubectl
