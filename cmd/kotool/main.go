// Command kotool looks into Linux kernel modules and tells whether a kernel will load them.
package main

import (
	"context"
	"os"
	"os/signal"

	"kotool/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	status := cli.Run(ctx, cli.NewApp(), os.Args[1:])
	stop()
	os.Exit(status)
}
