//go:build deps

package main
import (
 _ "github.com/spf13/cobra"
 _ "github.com/rs/zerolog"
 _ "sigs.k8s.io/yaml"
 _ "go.yaml.in/yaml/v3"
 _ "k8s.io/client-go/util/workqueue"
 _ "github.com/mattn/go-isatty"
 _ "github.com/google/go-cmp/cmp"
)
