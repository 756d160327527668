// Command remora-ambassador is the proxy of a host: the data plane of remora.
package main

import (
	"context"
	"os"

	"github.com/remorahq/remora/ambassador/command"
	"github.com/remorahq/remora/internal/version"
)

func main() {
	os.Exit(command.Main(context.Background(), version.Get().Version, os.Args[1:], os.Stdout, os.Stderr))
}
