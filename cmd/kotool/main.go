// Command kotool looks into Linux kernel modules and tells whether a kernel will load them.
package main

import (
	"context"
	"os"

	"kotool/internal/cli"
)

func main() {
	// No signal is caught: nothing needs cleaning up, and an interrupt ends the process with the status that shells expect.
	os.Exit(cli.Run(context.Background(), cli.NewApp(), os.Args[1:]))
}
