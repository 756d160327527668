// Command remora-ambassador is the proxy of a host: the data plane of remora.
package main

import (
	"context"
	"os"

	"github.com/remorahq/remora/ambassador/command"
)

// version is stamped by the build.
var version = "dev"

func main() {
	os.Exit(command.Main(context.Background(), version, os.Args[1:], os.Stdout, os.Stderr))
}
